//! Encodings and checksums of texts.
//!
//! Go's strings are bytes; ours are text, so invalid UTF-8 after decoding is replaced by U+FFFD.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::super::{Call, Param, Row};
use super::argument::{Outcome, computed, real};
use crate::value::Value;

use Param::String as Str;

pub(super) const ROWS: &[Row] = &[
    Row::new("b64enc", &[Str], |call, args| encode(call, args, |bytes| STANDARD.encode(bytes))),
    Row::new("b64dec", &[Str], |call, args| decode(call, args, "base64", base64_decoded)),
    Row::new("b32enc", &[Str], |call, args| encode(call, args, base32_encoded)),
    Row::new("b32dec", &[Str], |call, args| decode(call, args, "base32", base32_decoded)),
    Row::new("sha1sum", &[Str], |call, args| encode(call, args, |bytes| hex(&Sha1::digest(bytes)))),
    Row::new("sha256sum", &[Str], |call, args| encode(call, args, |bytes| hex(&Sha256::digest(bytes)))),
    Row::new("sha512sum", &[Str], |call, args| encode(call, args, |bytes| hex(&Sha512::digest(bytes)))),
    Row::new("adler32sum", &[Str], |call, args| encode(call, args, |bytes| adler32(bytes).to_string())),
];

/// The position of the first invalid byte.
type Corrupt = usize;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn encode<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    with: impl FnOnce(&[u8]) -> String,
) -> Outcome<'a> {
    let encoded = with(real(call, args, 0)?.as_bytes());
    computed(call, encoded, args)
}

/// If decoding fails, sprig returns the error's text instead of an error.
fn decode<'a>(
    call: &mut Call<'_, 'a>,
    args: &[Value<'a>],
    name: &str,
    with: impl FnOnce(&[u8]) -> Result<Vec<u8>, Corrupt>,
) -> Outcome<'a> {
    let decoded = match with(real(call, args, 0)?.as_bytes()) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(at) => format!("illegal {name} data at input byte {at}"),
    };
    computed(call, decoded, args)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    high << 16 | low
}

/// `base64.StdEncoding.DecodeString`: line breaks are skipped, padding is required.
fn base64_decoded(text: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut bytes = text.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\n' | b'\r'));
    let mut quantum = 0_u32;
    let mut count = 0;
    while let Some((at, byte)) = bytes.next() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if count >= 2 => {
                if count == 2 {
                    match bytes.next() {
                        Some((_, b'=')) => {}
                        Some((next, _)) => return Err(next - 1),
                        None => return Err(text.len()),
                    }
                }
                if let Some((next, _)) = bytes.next() {
                    return Err(next);
                }
                let [_, high, middle, _] = (quantum << (6 * (4 - count))).to_be_bytes();
                out.extend([high, middle].iter().take(count - 1));
                return Ok(out);
            }
            _ => return Err(at),
        };
        quantum = quantum << 6 | u32::from(digit);
        count += 1;
        if count == 4 {
            let [_, high, middle, low] = quantum.to_be_bytes();
            out.extend([high, middle, low]);
            (quantum, count) = (0, 0);
        }
    }
    if count == 0 { Ok(out) } else { Err(text.len() - count) }
}

fn base32_encoded(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let bits =
            chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        let digits = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let digit = usize::try_from(bits >> (35 - 5 * at) & 31).unwrap_or(0);
            out.push(if at < digits { BASE32.get(digit).map_or('=', |c| char::from(*c)) } else { '=' });
        }
    }
    out
}

/// `base32.StdEncoding.DecodeString`: line breaks are skipped, padding is required.
fn base32_decoded(text: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    let mut out = Vec::with_capacity(text.len() / 8 * 5);
    for (index, block) in text.chunks(8).enumerate() {
        let start = index * 8;
        let mut bits = 0_u64;
        let mut count = 0;
        for (at, byte) in block.iter().enumerate() {
            let is_last = text.len() - start - at <= 8;
            if *byte == b'=' && at >= 2 && is_last {
                if block.len() < 8 {
                    return Err(text.len());
                }
                if let Some(other) = block.iter().skip(at + 1).position(|byte| *byte != b'=') {
                    return Err(start + at + other);
                }
                if matches!(at, 3 | 6) {
                    return Err(start + at);
                }
                break;
            }
            let digit = BASE32.iter().position(|digit| digit == byte).ok_or(start + at)?;
            bits = bits << 5 | u64::try_from(digit).unwrap_or(0);
            count = at + 1;
        }
        if count == block.len() && count < 8 {
            return Err(start);
        }
        let bytes = (bits << (5 * (8 - count))).to_be_bytes();
        out.extend(bytes.iter().skip(3).take(count * 5 / 8));
    }
    Ok(out)
}
