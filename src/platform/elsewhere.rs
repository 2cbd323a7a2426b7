//! What stands in for `linux` on the other systems: the same functions, which do nothing.

pub mod file {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub fn has_access_list(_: &Path) -> bool {
        false
    }

    pub fn is_descriptor(_: &Path) -> bool {
        false
    }

    pub fn is_remote(_: &File) -> io::Result<bool> {
        Ok(false)
    }
}

pub mod parent {
    pub enum Parent {}

    impl Parent {
        pub fn find() -> Option<Self> {
            None
        }

        pub fn is_ssh(&self) -> bool {
            match *self {}
        }

        pub fn shows_disconnect_on_our_stderr(&self) -> bool {
            match *self {}
        }

        pub fn watch_hand_over(self) -> Option<HandOver> {
            match self {}
        }
    }

    pub enum HandOver {}

    impl HandOver {
        pub async fn done(self) {
            match self {}
        }
    }
}

pub mod pipe {
    use rustix::event::PollFlags;

    pub const RDHUP: PollFlags = PollFlags::empty();

    pub fn set_capacity<F>(_: F, _: usize) {}
}

pub mod signals {
    pub fn inherited_ignored() -> u64 {
        0
    }
}

pub mod tcp {
    use std::time::Duration;

    use tokio::net::{TcpSocket, TcpStream};

    use crate::platform::tcp::TcpInfo;

    pub fn info(_: &TcpStream) -> Option<TcpInfo> {
        None
    }

    pub fn limit_unsent(_: &TcpStream, _: u32) {}

    pub fn retransmit_within(_: &TcpStream, _: Duration) {}

    pub fn set_segment_size(_: &TcpSocket, _: u32) {}

    pub fn unacknowledged(_: &TcpStream) -> Option<u64> {
        None
    }
}

pub mod users {
    pub fn unmapped_user() -> Option<u32> {
        None
    }
}
