//! Tells the linker which functions a session runs, so that they lie side by side: the kernel maps 64 KiB around each
//! that is called, which would be nearly the whole program.

use std::env;
use std::path::Path;

const ORDER: &str = "src/link_order.ld";

/// Linkers that read no linker script of this kind, as they are named in options.
const OTHERS: [&str; 3] = ["gold", "mold", "wild"];

fn main() {
    println!("cargo::rerun-if-changed={ORDER}");
    let variable = |name| env::var(name).unwrap_or_default();
    let linker = variable("CARGO_ENCODED_RUSTFLAGS") + &variable("RUSTC_LINKER");
    let is_elf = variable("CARGO_CFG_TARGET_OS") == "linux";
    if is_elf && variable("PROFILE") == "release" && !OTHERS.iter().any(|other| linker.contains(other)) {
        let order = Path::new(&variable("CARGO_MANIFEST_DIR")).join(ORDER);
        println!("cargo::rustc-link-arg-bins=-T{}", order.display());
    }
}
