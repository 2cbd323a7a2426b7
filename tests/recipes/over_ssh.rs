use std::fs;

use super::recipe::{BEHIND, Recipe};
use super::servers::web;
use crate::support::{LIMIT, Stdin, eventually, fill_tree, finish, mode, need, run, tree_sha256};

pub fn web_page(recipe: &mut Recipe) {
    web("127.0.0.1:80", "the device's page\n");
    assert_eq!(recipe.runs().text(), "the device's page\n");
    assert_eq!(mode(&recipe.path("run/gw-07.web")), 0o600);
    assert_eq!(recipe.runs().text(), "the device's page\n");
    recipe.runs();
    eventually(LIMIT, || match recipe.path("run/gw-07.control").exists() {
        false => Ok(()),
        true => Err("ssh ends".into()),
    });
}

pub fn socks(recipe: &mut Recipe) {
    web(&format!("{BEHIND}:80"), "a page behind the device\n");
    assert_eq!(recipe.runs().text(), "a page behind the device\n");
}

pub fn one_connection(recipe: &mut Recipe) {
    web(&format!("{BEHIND}:80"), "a page behind the device\n");
    let answer = recipe.runs();
    assert!(answer.text().ends_with("\r\n\r\na page behind the device\n"), "{answer:?}");
}

pub fn sshfs(recipe: &mut Recipe) {
    fs::write("/srv/recipe.txt", "of the device").unwrap();
    assert_eq!(recipe.runs().text(), "recipe.txt\n");
    assert_eq!(fs::read_dir(recipe.path("gw-07")).unwrap().count(), 0, "it is unmounted");
}

pub fn restic(recipe: &mut Recipe) {
    fill_tree("/srv/data".as_ref(), 50);
    fill_tree(&recipe.path("files"), 50);
    recipe.sandbox.write(".restic", "a password\n");
    recipe.runs();
    recipe.runs();
    let restored = |repository: &str, snapshot: &str| {
        let mut restic = recipe.sandbox.command(need("restic"));
        restic.args(["-r", repository, "--password-file"]).arg(recipe.path(".restic"));
        // A directory comes as an archive.
        finish(restic.args(["dump", "latest", snapshot])).succeeded().stdout
    };
    let unpacked = |archive: &[u8], to: &str| {
        fs::create_dir(recipe.path(to)).unwrap();
        let mut tar = recipe.sandbox.command("tar");
        run(tar.args(["-x", "-C"]).arg(recipe.path(to)), Stdin::Ends(archive), LIMIT).succeeded();
    };
    unpacked(&restored(&recipe.path("backup").display().to_string(), "gw-07.tar"), "of-the-device");
    assert_eq!(tree_sha256(&recipe.path("of-the-device/data")), tree_sha256("/srv/data".as_ref()));
    let files = recipe.path("files");
    unpacked(&restored("/srv/restic", &files.display().to_string()), "of-the-user");
    assert_eq!(
        tree_sha256(&recipe.path("of-the-user").join(files.strip_prefix("/").unwrap())),
        tree_sha256(&files)
    );
}

pub fn borg(recipe: &mut Recipe) {
    fill_tree(&recipe.path("files"), 50);
    recipe.sandbox.write(".borg", "a password\n");
    recipe.runs();
    let borg = |args: &[&str]| {
        let mut borg = recipe.sandbox.command(need("borg"));
        borg.env("BORG_PASSPHRASE", "a password").env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        fs::create_dir_all(recipe.path("restored")).unwrap();
        finish(borg.args(args).current_dir(recipe.path("restored"))).succeeded()
    };
    let archives = borg(&["list", "--short", "/srv/borg"]);
    borg(&["extract", &format!("/srv/borg::{}", archives.text().trim())]);
    let files = recipe.path("files");
    let restored = recipe.path("restored").join(files.strip_prefix("/").unwrap());
    assert_eq!(tree_sha256(&restored), tree_sha256(&files));
}
