//! Remote desktops. Xtigervnc is an X server that shows its screen by VNC: one is the device's, with its port, the other is
//! the user's.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use super::recipe::Recipe;
use super::servers::listens;
use crate::support::{LIMIT, Process, Sandbox, eventually, need};

pub struct Display {
    server: Process,
    pub name: String,
    port: u16,
}

impl Display {
    /// An X server whose screen is white or black, and that shows it on a port.
    fn start(sandbox: &Sandbox, background: &str, geometry: &str, port: u16) -> Self {
        let mut command = sandbox.command(need("Xtigervnc"));
        // The lock would be in the /tmp that recipes share; -nolock is for root.
        command.args(["-nolock", "-displayfd", "1", "-localhost", "-SecurityTypes", "None"]);
        command.args([background, "-geometry", geometry]);
        let mut server = Process::start("X server", command.args(["-rfbport", &port.to_string()]));
        server.says("created VNC server", 1, LIMIT);
        let name = format!(":{}", char::from(server.reads(2, LIMIT)[0]));
        Self { server, name, port }
    }

    pub fn device(sandbox: &Sandbox) -> Self {
        Self::start(sandbox, "-wr", "640x480", 5900)
    }

    pub fn user(sandbox: &Sandbox) -> Self {
        Self::start(sandbox, "-br", "1024x768", 5990)
    }

    /// The white pixels of the screen, which a client of VNC asks for: RFC 6143.
    pub fn white(&self) -> usize {
        let mut server = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        server.set_read_timeout(Some(LIMIT)).unwrap();
        let read = |server: &mut TcpStream, length: usize| {
            let mut bytes = vec![0; length];
            server.read_exact(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(&mut server, 12), b"RFB 003.008\n");
        server.write_all(b"RFB 003.008\n").unwrap();
        assert_eq!(read(&mut server, 2), [1, 1], "one type of security: none");
        server.write_all(&[1]).unwrap();
        assert_eq!(read(&mut server, 4), [0; 4]);
        // Others may stay connected.
        server.write_all(&[1]).unwrap();
        let screen = read(&mut server, 24);
        let name = u32::from_be_bytes(screen[20..].try_into().unwrap());
        read(&mut server, usize::try_from(name).unwrap());
        let (width, height) = (&screen[..2], &screen[2..4]);
        // The raw encoding, and the whole screen.
        server.write_all(&[2, 0, 0, 1, 0, 0, 0, 0]).unwrap();
        server.write_all(&[&[3, 0, 0, 0, 0, 0], width, height].concat()).unwrap();
        let area = |bytes: &[u8]| {
            let side = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
            side(0) * side(2)
        };
        let update = read(&mut server, 4);
        let mut white = 0;
        for _ in 0..u16::from_be_bytes([update[2], update[3]]) {
            let rectangle = read(&mut server, 12);
            let pixels = read(&mut server, 4 * area(&rectangle[4..8]));
            // A lossy encoding may take a little off; the fourth byte is padding.
            let is_white = |pixel: &&[u8]| pixel.iter().filter(|&&colour| colour > 230).count() >= 3;
            white += pixels.chunks(4).filter(is_white).count();
        }
        white
    }

    /// Waits until most of the device's white screen is shown here.
    #[track_caller]
    pub fn shows_the_device(&self) {
        eventually(LIMIT, || match self.white() {
            white if white > 640 * 480 * 9 / 10 => Ok(()),
            white => Err(format!("{white} pixels of the device's screen are shown")),
        });
    }

    /// Ends it in good order: it removes its lock.
    pub fn stop(mut self) {
        self.server.signal(Signal::TERM);
        self.server.ends(LIMIT);
    }
}

pub fn vnc(recipe: &mut Recipe) {
    let (device, user) = (Display::device(&recipe.sandbox), Display::user(&recipe.sandbox));
    need("vncviewer");
    assert_eq!(user.white(), 0);
    let _viewer = Process::start("viewer", recipe.block().env("DISPLAY", &user.name));
    user.shows_the_device();
    user.stop();
    device.stop();
}

pub fn rdp(recipe: &mut Recipe) {
    let (device, user) = (Display::device(&recipe.sandbox), Display::user(&recipe.sandbox));
    let mut shadow = recipe.sandbox.command(need("freerdp-shadow-cli"));
    // Without a database of passwords, the server lets everyone in.
    shadow.args(["/port:3389", "/bind-address:127.0.0.1", "-auth", "-sec-nla"]).env("DISPLAY", &device.name);
    let _shadow = Process::start("RDP server", &mut shadow);
    listens("127.0.0.1:3389");
    need("xfreerdp");
    assert_eq!(user.white(), 0);
    let _viewer = Process::start("viewer", recipe.block().env("DISPLAY", &user.name));
    user.shows_the_device();
    user.stop();
    device.stop();
}
