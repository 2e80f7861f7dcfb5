//! The body of an answer: where it ends, and what it is packed in.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::stream::{Head, Stream, Trouble};

/// Reads the body that follows the head.
pub fn read(stream: &mut Stream, head: &Head, method: &str) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    if method == "HEAD" || matches!(head.status, 204 | 304) {
        return Ok(bytes);
    }
    let header = |name| head.headers.get(name).unwrap_or_default().to_ascii_lowercase();
    if header("Transfer-Encoding").split(',').any(|coding| coding.trim() == "chunked") {
        chunks(stream, &mut bytes)?;
    } else {
        // Twice the same length is one length.
        let length = header("Content-Length");
        let length = length.split(',').next().and_then(|length| length.trim().parse().ok());
        match length {
            Some(length) => stream.exactly(length, &mut bytes)?,
            None => stream.rest(&mut bytes)?,
        }
    }
    for coding in header("Content-Encoding").split(',').rev() {
        bytes = unpack(coding.trim(), bytes)?;
    }
    Ok(bytes)
}

fn chunks(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<(), Trouble> {
    loop {
        let line = stream.line()?;
        if line.is_empty() {
            return Err(Trouble::Incomplete { read: bytes.len(), missing: None });
        }
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = std::str::from_utf8(digits).unwrap_or_default().trim();
        let Ok(size) = usize::from_str_radix(digits, 16) else {
            return Err(Trouble::BadChunk { line, read: bytes.len() });
        };
        if size == 0 {
            break;
        }
        stream.exactly(size, bytes)?;
        stream.line()?;
    }
    // Headers may follow, of which nobody wants to know.
    while !matches!(&stream.line()?[..], b"" | b"\n" | b"\r\n") {}
    Ok(())
}

fn unpack(coding: &str, bytes: Vec<u8>) -> Result<Vec<u8>, Trouble> {
    let all = |mut reader: Box<dyn Read + '_>| -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        reader.read_to_end(&mut out).map(|_| out)
    };
    let unpacked = match coding {
        "gzip" | "x-gzip" if !bytes.is_empty() => all(Box::new(MultiGzDecoder::new(&bytes[..]))),
        // Some servers send the bare form.
        "deflate" if !bytes.is_empty() => all(Box::new(ZlibDecoder::new(&bytes[..])))
            .or_else(|_| all(Box::new(DeflateDecoder::new(&bytes[..])))),
        _ => return Ok(bytes),
    };
    unpacked.map_err(|error| Trouble::BadCoding { coding: coding.into(), text: error.to_string() })
}
