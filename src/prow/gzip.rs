//! Gzip as Prow writes and reads it.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};

/// More than any ConfigMap can mean: a value of 1 MiB that inflates beyond this is a bomb, not a configuration.
pub const INFLATE_CAP: u64 = 64 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    #[error("inflates to more than {} MiB", INFLATE_CAP / (1024 * 1024))]
    TooLarge,
    #[error("gzip does not inflate: {0}")]
    Broken(String),
}

/// True where Prow's readers of config.yaml and job files would gunzip.
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The bytes after gunzip where they begin with gzip's magic, else as they are.
///
/// # Errors
/// A broken stream, or more than [`INFLATE_CAP`] bytes.
pub fn inflate(bytes: &[u8]) -> Result<Cow<'_, [u8]>, GzipError> {
    if !is_gzip(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut inflated = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(INFLATE_CAP + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| GzipError::Broken(error.to_string()))?;
    if inflated.len() as u64 > INFLATE_CAP {
        return Err(GzipError::TooLarge);
    }
    Ok(Cow::Owned(inflated))
}

/// Gzip with the header that Go writes (mtime 0, OS 255). The compressed bytes still differ from Go's: compare values
/// after [`inflate`].
pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    // Writing into memory cannot fail.
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed,
        Err(_) => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_gos_and_the_way_back_is_exact() {
        let compressed = deflate(b"presets: []\n");
        assert_eq!(compressed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        assert_eq!(*inflate(&compressed).unwrap(), *b"presets: []\n");
        assert_eq!(*inflate(b"plain").unwrap(), *b"plain");
    }

    #[test]
    fn bombs_and_broken_streams_are_errors() {
        let bomb = deflate(&vec![0; (INFLATE_CAP + 1) as usize]);
        assert!(bomb.len() < 1024 * 1024);
        assert_eq!(inflate(&bomb), Err(GzipError::TooLarge));
        assert!(matches!(inflate(&bomb[..100]), Err(GzipError::Broken(_))));
        assert!(matches!(inflate(&[0x1f, 0x8b]), Err(GzipError::Broken(_))));
    }
}
