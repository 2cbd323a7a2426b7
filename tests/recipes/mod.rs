//! Runs each block of iotstream-recipes(7) with the real programs. The page's ports and addresses are real: each recipe
//! has a network of its own.

mod desktops;
mod other_clients;
mod over_ssh;
mod over_streams;
mod recipe;
mod servers;
mod socket_units;

use std::collections::BTreeSet;

use recipe::{in_own_network, sections};

use crate::documentation::Example;

/// Declares a test for each recipe, by the title of its section, and the list of them.
macro_rules! recipes {
    ($($title:literal => $module:ident::$test:ident,)*) => {
        const TESTED: &[&str] = &[$($title),*];
        $(#[test]
        fn $test() {
            in_own_network(stringify!($test), $title, $module::$test);
        })*
    };
}

recipes! {
    "A web page" => over_ssh::web_page,
    "Web pages behind the device" => over_ssh::socks,
    "One connection to a machine behind the device" => over_ssh::one_connection,
    "Files as a directory" => over_ssh::sshfs,
    "Backup with restic" => over_ssh::restic,
    "Backup with borg" => over_ssh::borg,
    "VNC" => desktops::vnc,
    "RDP" => desktops::rdp,
    "PuTTY" => other_clients::plink,
    "Dropbear's client" => other_clients::dbclient,
    "One request" => over_streams::one_request,
    "rsync daemon" => over_streams::rsync_daemon,
    "git daemon" => over_streams::git_daemon,
    "gdb" => over_streams::gdb,
    "Serial console" => over_streams::serial_console,
    "A web server at an address" => socket_units::web_server,
    "VNC at an address" => socket_units::vnc_server,
    "A PLC at an address" => socket_units::plc,
}

/// The recipe that `interop::ansible` runs, with many devices.
pub const ANSIBLE: &str = "Many devices with Ansible";

/// The blocks of a recipe.
pub fn blocks(title: &str) -> Vec<Example> {
    sections().into_iter().find(|section| section.title == title).expect("the page's section").blocks
}

#[test]
fn every_block_of_the_page_is_run_by_a_test() {
    let page = sections();
    let marked: usize = page.iter().map(|section| section.blocks.len()).sum();
    assert_eq!(
        recipe::PAGE.matches("\n.EX\n").count(),
        marked,
        "a block has no comment that says how to run it"
    );
    // The configuration that all recipes share is before the first of them.
    let titles =
        page.iter().filter(|section| !section.blocks.is_empty()).map(|section| section.title.as_str());
    let titles: BTreeSet<_> = titles.filter(|title| *title != recipe::SHARED).collect();
    assert_eq!(
        titles,
        TESTED.iter().copied().chain([ANSIBLE]).collect(),
        "left are the page's recipes, right are those with a test"
    );
}
