use std::io::{self, Read};

/// Bytes without a period.
pub struct Pattern {
    state: u64,
    left: usize,
}

impl Pattern {
    pub fn new(length: usize) -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, left: length }
    }
}

impl Read for Pattern {
    /// Fills whole words, and the last one in part.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(buffer.len() >= 8);
        let length = self.left.min(buffer.len() & !7);
        for word in buffer[..length].chunks_mut(8) {
            // xorshift64
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            word.copy_from_slice(&self.state.to_le_bytes()[..word.len()]);
        }
        self.left -= length;
        Ok(length)
    }
}

/// Reads to the end, and compares every byte with the pattern.
#[track_caller]
pub fn verify(mut from: impl Read, length: usize) {
    let mut expected = Pattern::new(length);
    let (mut wanted, mut found) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut at = 0;
    loop {
        let count = expected.read(&mut wanted).unwrap();
        if count == 0 {
            assert_eq!(from.read(&mut found).unwrap(), 0, "more than {length} bytes");
            return;
        }
        from.read_exact(&mut found[..count]).unwrap_or_else(|error| panic!("{at} bytes and more: {error}"));
        assert!(wanted[..count] == found[..count], "wrong bytes after {at}");
        at += count;
    }
}
