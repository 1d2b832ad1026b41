//! What a header may ask for, so that a small hostile file never takes much memory.
//!
//! Things in memory are larger than in a file: an empty text takes 8 bytes there and 24 here. Headers of real models hold
//! few things for the bytes of their files, so counts that would need more than twice the file are refused before anything
//! is reserved, and names are cut short in messages.

/// Memory for a file of `file` bytes, in bytes.
pub(crate) fn memory(file: usize) -> usize {
    file.saturating_mul(2)
}

/// So many things are fine in any file.
pub(crate) const FEW: usize = 256;

/// A name in a message.
pub(crate) fn shown(name: &str) -> String {
    const MOST: usize = 200;
    match name.char_indices().nth(MOST) {
        None => format!("{name:?}"),
        Some((end, _)) => format!("{:?}...", name.get(..end).unwrap_or_default()),
    }
}

/// Longest list of numbers in the header of a safetensors file: shapes and offsets.
const LONGEST_LIST: usize = 16;
/// Bytes of a file for each tensor of its header.
const FILE_BYTES_A_TENSOR: usize = 256;
/// Bytes of a file for each member of an object: a parser keeps 64 for one, in a list that may be half empty.
const FILE_BYTES_A_MEMBER: usize = 64;
/// A text of the header is at most this part of the file, or [`SHORT_TEXT`].
const TEXT_PART: usize = 8;
const SHORT_TEXT: usize = 4096;

/// Looks through the JSON of a safetensors header before a parser builds anything of it. `file`: bytes of the file.
///
/// # Errors
/// A sentence that says what is larger than any real header has it.
pub(crate) fn check_json(header: &[u8], file: usize) -> Result<(), String> {
    let mut objects = 0usize;
    // Members of each object that this byte is in, the outermost first.
    let mut members: Vec<usize> = Vec::new();
    // Commas of the list that this byte is in.
    let mut list: Option<usize> = None;
    // Bytes of the text that it is in, and whether the one before was a backslash.
    let mut text: Option<usize> = None;
    let mut escaped = false;
    for byte in header {
        if let Some(length) = &mut text {
            *length += 1;
            if *length > SHORT_TEXT.max(file / TEXT_PART) {
                return Err(format!("a text of more than {} bytes is in the header", *length - 1));
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => text = None,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => text = Some(0),
            b'[' => list = Some(0),
            b']' => list = None,
            b',' => {
                if let Some(commas) = &mut list {
                    *commas += 1;
                    if *commas >= LONGEST_LIST {
                        return Err(format!("a list of more than {LONGEST_LIST} numbers is in the header"));
                    }
                }
            }
            b':' => {
                if let Some(members) = members.last_mut() {
                    *members += 1;
                    if *members > (4 * FEW).max(file / FILE_BYTES_A_MEMBER) {
                        return Err(format!(
                            "more members are in an object of the header than fit a file of {file} bytes"
                        ));
                    }
                }
            }
            b'}' => drop(members.pop()),
            b'{' => {
                objects += 1;
                members.push(0);
                if objects > (4 * FEW).max(file / FILE_BYTES_A_TENSOR) {
                    return Err(format!("more things are in the header than fit a file of {file} bytes"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_headers_pass_and_swollen_ones_do_not() {
        let tensor = r#"{"a":{"dtype":"F32","shape":[2,3,4,5],"data_offsets":[0,480]},"b \" [,,,":{}}"#;
        check_json(tensor.as_bytes(), 600).unwrap();
        let list = format!(r#"{{"a":{{"shape":[{}]}}}}"#, "1,".repeat(100));
        assert!(check_json(list.as_bytes(), 300).unwrap_err().contains("a list"));
        let many = "{\"a\":{},".repeat(2000);
        assert!(check_json(many.as_bytes(), many.len()).unwrap_err().contains("more things"));
        let wide = format!("{{{}}}", "\"a\":{\"b\":1},\"c\":1,".repeat(600));
        assert!(check_json(wide.as_bytes(), wide.len()).unwrap_err().contains("more members"));
        check_json(wide.as_bytes(), 1200 * 64).unwrap();
        let long = format!("{{\"{}\":1}}", "x".repeat(5000));
        assert!(check_json(long.as_bytes(), 5000).unwrap_err().contains("text"));
        check_json(long.as_bytes(), 1 << 20).unwrap();
    }

    #[test]
    fn names_are_cut_in_messages() {
        assert_eq!(shown("blk.0"), "\"blk.0\"");
        let long = shown(&"\u{1}".repeat(10_000));
        assert!(long.len() < 1200 && long.ends_with("..."), "{}", long.len());
    }
}
