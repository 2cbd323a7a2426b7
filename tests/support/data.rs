use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

pub fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

pub fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Makes `files` files of random content, up to 4 KiB each, in folders of fifty.
pub fn fill_tree(root: &Path, files: usize) {
    for index in 0..files {
        let folder = root.join(format!("folder {}", index / 50));
        fs::create_dir_all(&folder).unwrap();
        let size = u16::from_le_bytes(random(2).try_into().unwrap()) % 4096;
        fs::write(folder.join(format!("file-{index}")), random(size.into())).unwrap();
    }
}

/// One hash over the names and contents of all files below `root`.
pub fn tree_sha256(root: &Path) -> String {
    let mut entries = Vec::new();
    collect(root, &mut entries);
    entries.sort();
    assert!(!entries.is_empty(), "{} holds no files", root.display());
    let lines = entries.iter().map(|path| {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        format!("{} {name}\n", sha256(&fs::read(path).unwrap()))
    });
    sha256(lines.collect::<String>().as_bytes())
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
