//! Gzip as Prow writes and reads it.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

/// More than any ConfigMap can mean: a value of 1 MiB that inflates beyond this is a bomb, not a configuration.
pub const INFLATE_CAP: u64 = 32 * 1024 * 1024;

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

/// How many bytes there are after gunzip; nothing is kept of them.
///
/// # Errors
/// As [`inflate`].
pub fn inflated_len(bytes: &[u8]) -> Result<usize, GzipError> {
    let mut len = 0;
    each_part(bytes, |part| len += part.len())?;
    Ok(len)
}

/// sha256 (hex) of the bytes after gunzip; of what is stored where they do not inflate. Nothing is kept of them.
pub fn inflated_sha256(bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    if each_part(bytes, |part| hash.update(part)).is_err() {
        hash = Sha256::new_with_prefix(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives what [`inflate`] would, in parts.
fn each_part(bytes: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), GzipError> {
    if !is_gzip(bytes) {
        take(bytes);
        return Ok(());
    }
    let mut decoder = MultiGzDecoder::new(bytes).take(INFLATE_CAP + 1);
    let mut buffer = [0; 8 * 1024];
    let mut total = 0;
    loop {
        let read = decoder.read(&mut buffer).map_err(|error| GzipError::Broken(error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        total += read as u64;
        if total > INFLATE_CAP {
            return Err(GzipError::TooLarge);
        }
        take(&buffer[..read]);
    }
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

/// What [`deflate`] made these bytes of; `None` where they have not its form: its header, one stream, and nothing behind it.
pub fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    // Neither name nor comment; how hard it was compressed is of no matter.
    if bytes.get(..8)? != [0x1f, 0x8b, 8, 0, 0, 0, 0, 0] || *bytes.get(9)? != 255 {
        return None;
    }
    let mut decoder = GzDecoder::new(bytes);
    let mut content = Vec::new();
    (&mut decoder).take(INFLATE_CAP + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= INFLATE_CAP && decoder.into_inner().is_empty()).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_packed_here_is_unpacked() {
        let packed = deflate(b"periodics: []\n");
        assert_eq!(unpacked(&packed).as_deref(), Some(&b"periodics: []\n"[..]));
        assert_eq!(unpacked(&deflate(b"")).as_deref(), Some(&b""[..]));
        let named = GzBuilder::new().filename("x").mtime(0).operating_system(255);
        let mut named = named.write(Vec::new(), Compression::default());
        named.write_all(b"periodics: []\n").unwrap();
        let (twice, cut) = ([&packed[..], &packed].concat(), &packed[..packed.len() - 1]);
        let bomb = deflate(&vec![0; INFLATE_CAP as usize + 1]);
        for other in [&b"periodics: []\n"[..], b"", &named.finish().unwrap(), &twice, cut, &bomb] {
            assert_eq!(unpacked(other), None);
        }
    }

    #[test]
    fn header_is_gos_and_the_way_back_is_exact() {
        let compressed = deflate(b"presets: []\n");
        assert_eq!(compressed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        assert_eq!(*inflate(&compressed).unwrap(), *b"presets: []\n");
        assert_eq!(*inflate(b"plain").unwrap(), *b"plain");
    }

    #[test]
    fn length_and_digest_are_of_what_inflates() {
        let compressed = deflate(b"presets: []\n");
        assert_eq!((inflated_len(&compressed), inflated_len(b"plain")), (Ok(12), Ok(5)));
        assert_eq!(inflated_sha256(&compressed), crate::model::sha256_hex(b"presets: []\n"));
        let bomb = deflate(&vec![0; (INFLATE_CAP + 1) as usize]);
        assert_eq!(inflated_len(&bomb), Err(GzipError::TooLarge));
        assert_eq!(inflated_sha256(&bomb), crate::model::sha256_hex(&bomb), "what it holds is not looked at");
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
