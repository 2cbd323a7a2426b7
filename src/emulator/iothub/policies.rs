//! The shared access policies of a new hub, and what each allows \[D].

/// The names of the policies.
pub(super) const POLICIES: [&str; 5] =
    ["service", "device", "registryRead", "registryReadWrite", "iothubowner"];

/// The rights of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    ServiceConnect,
    DeviceConnect,
    RegistryRead,
    RegistryWrite,
}

/// Whether the policy called `policy` allows one of `permissions`.
pub(super) fn allows(policy: &str, permissions: &[Permission]) -> bool {
    use Permission::{DeviceConnect, RegistryRead, RegistryWrite, ServiceConnect};
    let allowed: &[Permission] = match policy {
        "iothubowner" => &[ServiceConnect, DeviceConnect, RegistryRead, RegistryWrite],
        "service" => &[ServiceConnect],
        "device" => &[DeviceConnect],
        "registryRead" => &[RegistryRead],
        "registryReadWrite" => &[RegistryRead, RegistryWrite],
        _ => &[],
    };
    permissions.iter().any(|permission| allowed.contains(permission))
}
