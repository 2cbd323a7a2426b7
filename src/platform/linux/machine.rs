//! What tells this machine from another one of its kind.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Problem, escape};

/// Where firmware has the serial number: DMI, and the device tree, which ends it with a NUL.
const SERIAL_NUMBERS: [&str; 2] =
    ["sys/class/dmi/id/product_serial", "sys/firmware/devicetree/base/serial-number"];

/// What firmware says in place of a serial number, in lower case.
const FILLERS: [&str; 16] = [
    "0123456789",
    "123456789",
    "chassis serial number",
    "default string",
    "empty",
    "invalid",
    "n/a",
    "na",
    "none",
    "not applicable",
    "not available",
    "not specified",
    "serial number",
    "system serial number",
    "to be filled by o.e.m.",
    "unknown",
];

/// The routes, as the process sees them: a sandbox may hide the rest of /proc.
const ROUTES: &str = "proc/self/net/route";
const ROUTES_IPV6: &str = "proc/self/net/ipv6_route";
/// The flag of a route that rejects (`RTF_REJECT`).
const REJECT: u32 = 0x200;

/// The hardware address of the interface of the default route, in lower case: `a1:b2:c3:d4:e5:f6`.
///
/// # Errors
/// Returns an error if there is no default route, or its interface has no such address.
pub(crate) fn hardware_address() -> Result<String, Problem> {
    hardware_address_below(Path::new("/"))
}

/// The machine's serial number, from its firmware.
///
/// # Errors
/// Returns an error if this user cannot read it, or the firmware has none.
pub(crate) fn serial_number() -> Result<String, Problem> {
    serial_number_below(Path::new("/"))
}

fn hardware_address_below(root: &Path) -> Result<String, Problem> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let interface = default_ipv4(&read(ROUTES)).or_else(|| default_ipv6(&read(ROUTES_IPV6)));
    let interface = interface.ok_or("there is no default route, whose interface would have the address")?;
    let address = read(&format!("sys/class/net/{interface}/address")).trim().to_ascii_lowercase();
    let pairs: Vec<&str> = address.split(':').collect();
    let is_pair = |pair: &&str| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
    if pairs.len() == 6 && pairs.iter().all(is_pair) && pairs.iter().any(|pair| *pair != "00") {
        return Ok(address);
    }
    Err(format!("{}, the interface of the default route, has no hardware address", escape(&interface)).into())
}

/// The interface of the default route with the lowest metric in /proc/net/route: interface, destination, gateway, flags,
/// counts, metric, mask.
fn default_ipv4(routes: &str) -> Option<String> {
    let defaults = routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [interface, "00000000", _, flags, _, _, metric, "00000000", ..] = fields[..] else { return None };
        usable(interface, flags, metric.parse().ok()?)
    });
    defaults.min_by_key(|(metric, _)| *metric).map(|(_, interface)| interface)
}

/// The same in /proc/net/ipv6_route: destination, its prefix length, source, its prefix length, next hop, metric, counts,
/// flags, interface; in hexadecimal.
fn default_ipv6(routes: &str) -> Option<String> {
    let defaults = routes.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [destination, "00", _, _, _, metric, _, _, flags, interface] = fields[..] else { return None };
        let is_default = destination.bytes().all(|digit| digit == b'0');
        usable(interface, flags, u32::from_str_radix(metric, 16).ok()?).filter(|_| is_default)
    });
    defaults.min_by_key(|(metric, _)| *metric).map(|(_, interface)| interface)
}

/// A route's metric and interface, unless the route rejects. An interface has a plain file name.
fn usable(interface: &str, flags: &str, metric: u32) -> Option<(u32, String)> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    (flags & REJECT == 0 && !interface.contains('/')).then(|| (metric, interface.to_owned()))
}

fn serial_number_below(root: &Path) -> Result<String, Problem> {
    let mut problem = None;
    for file in SERIAL_NUMBERS {
        let text = match fs::read(root.join(file)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).trim_matches(['\0', '\n', ' ']).to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                let text = if error.kind() == ErrorKind::PermissionDenied {
                    format!("/{file} is readable for root alone")
                } else {
                    format!("/{file}: {error}")
                };
                problem.get_or_insert(Problem::because(text, error));
                continue;
            }
        };
        let is_repeated = text.chars().all(|c| text.starts_with(c));
        if is_repeated || FILLERS.contains(&text.to_ascii_lowercase().as_str()) {
            let text = format!("/{file} says '{}', which is no serial number", escape(&text));
            problem.get_or_insert(text.into());
        } else {
            return Ok(text);
        }
    }
    let [dmi, device_tree] = SERIAL_NUMBERS;
    Err(problem.unwrap_or_else(|| format!("there is neither /{dmi} nor /{device_tree}").into()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn address(files: &[(&str, &str)]) -> Result<String, String> {
        hardware_address_below(root(files).path()).map_err(|problem| problem.to_string())
    }

    fn serial(files: &[(&str, &str)]) -> Result<String, String> {
        serial_number_below(root(files).path()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_address_is_that_of_the_default_route() {
        let routes = format!(
            "{HEAD}eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             wlan0\t00000000\t0100A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
             gone0\t00000000\t00000000\t0201\t0\t0\t1\t00000000\t0\t0\t0\n\
             eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
        );
        let eth0 = ("sys/class/net/eth0/address", "A1:b2:c3:d4:e5:f6\n");
        assert_eq!(address(&[(ROUTES, &routes), eth0]), Ok("a1:b2:c3:d4:e5:f6".into()));
        let routes = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                      fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n\
                      00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                      00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        assert_eq!(address(&[(ROUTES, HEAD), (ROUTES_IPV6, routes), eth0]), Ok("a1:b2:c3:d4:e5:f6".into()));
        let lo = routes.lines().nth(1).unwrap();
        assert!(address(&[(ROUTES_IPV6, lo)]).unwrap_err().contains("no default route"));
        assert!(address(&[]).unwrap_err().contains("no default route"));
        let routes = format!("{HEAD}tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n");
        for none in ["", "\n", "00:00:00:00:00:00\n", "80:00:02:08:fe:80:00:00\n", "a1:b2:c3:d4:e5:zz"] {
            let problem = address(&[(ROUTES, &routes), ("sys/class/net/tun0/address", none)]).unwrap_err();
            assert!(problem.contains("tun0, the interface"), "{none}: {problem}");
        }
    }

    #[test]
    fn the_serial_number_is_the_firmwares() {
        let [dmi, device_tree] = SERIAL_NUMBERS;
        assert_eq!(serial(&[(dmi, "PF2XW1AB\n")]), Ok("PF2XW1AB".into()));
        assert_eq!(serial(&[(device_tree, "10000000abcdef01\0")]), Ok("10000000abcdef01".into()));
        assert_eq!(serial(&[(dmi, "None\n"), (device_tree, "10a\0")]), Ok("10a".into()));
        for filler in
            ["", "\n", "0\n", "0000000", "None", "To be filled by O.E.M.\n", "Default string", "..", " "]
        {
            let problem = serial(&[(dmi, filler)]).unwrap_err();
            assert!(problem.contains("product_serial says"), "{filler}: {problem}");
        }
        let problem = serial(&[]).unwrap_err();
        assert!(problem.contains(dmi) && problem.contains(device_tree), "{problem}");
    }

    #[test]
    fn a_serial_number_for_root_alone_is_named() {
        let root = root(&[(SERIAL_NUMBERS[0], "PF2XW1AB")]);
        fs::set_permissions(root.path().join(SERIAL_NUMBERS[0]), fs::Permissions::from_mode(0o000)).unwrap();
        match serial_number_below(root.path()) {
            // Root reads it.
            Ok(serial) => assert_eq!(serial, "PF2XW1AB"),
            Err(problem) => assert!(problem.to_string().contains("readable for root alone"), "{problem}"),
        }
    }
}
