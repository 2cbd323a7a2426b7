//! The functions of `linux` for macOS, without effect or with an error.

pub(crate) mod file {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(crate) fn has_access_list(_: &Path) -> bool {
        false
    }

    pub(crate) fn is_descriptor(_: &Path) -> bool {
        false
    }

    pub(crate) fn is_remote(_: &File) -> io::Result<bool> {
        Ok(false)
    }
}

pub(crate) mod machine {
    use crate::error::Problem;

    const UNKNOWN: &str = "it can be read on Linux alone";

    pub(crate) fn hardware_address() -> Result<String, Problem> {
        Err(UNKNOWN.into())
    }

    pub(crate) fn serial_number() -> Result<String, Problem> {
        Err(UNKNOWN.into())
    }
}

pub(crate) mod parent {
    pub(crate) enum Parent {}

    impl Parent {
        pub(crate) fn find() -> Option<Self> {
            None
        }

        pub(crate) fn is_ssh(&self) -> bool {
            match *self {}
        }

        pub(crate) fn shows_disconnect_on_our_stderr(&self) -> bool {
            match *self {}
        }

        pub(crate) fn watch_hand_over(self) -> Option<HandOver> {
            match self {}
        }
    }

    pub(crate) enum HandOver {}

    impl HandOver {
        pub(crate) async fn done(self) {
            match self {}
        }
    }
}

pub(crate) mod pipe {
    use rustix::event::PollFlags;

    pub(crate) const RDHUP: PollFlags = PollFlags::empty();

    pub(crate) fn set_capacity<F>(_: F, _: usize) {}
}

pub(crate) mod signals {
    pub(crate) fn inherited_ignored() -> u64 {
        0
    }
}

pub(crate) mod tcp {
    use std::time::Duration;

    use tokio::net::{TcpSocket, TcpStream};

    use crate::platform::tcp_info::TcpInfo;

    pub(crate) fn info(_: &TcpStream) -> Option<TcpInfo> {
        None
    }

    pub(crate) fn limit_unsent(_: &TcpStream, _: u32) {}

    pub(crate) fn retransmit_within(_: &TcpStream, _: Duration) {}

    pub(crate) fn set_segment_size(_: &TcpSocket, _: u32) {}

    pub(crate) fn unacknowledged(_: &TcpStream) -> Option<u64> {
        None
    }
}

pub(crate) mod users {
    pub(crate) fn unmapped_user() -> Option<u32> {
        None
    }
}
