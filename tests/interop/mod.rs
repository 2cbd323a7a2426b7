//! Programs by others, through a hub and a device: OpenSSH, rsync, git, Ansible, ssh clients in Python, Microsoft's Python
//! clients, and an independent implementation of the protocol.

mod ansible;
mod known_hosts;
mod openssh;
mod provisioning_client;
mod python_clients;
mod registry_client;
mod relay_programs;
mod relay_witness;
mod rsync_and_git;
mod witness;
