//! Damaged and hostile files: always an error of one line, never a panic, never a huge allocation.

use proptest::prelude::*;

use super::super::{Checkpoint, Gguf};
use super::{Folder, small_file};

/// Builds the raw bytes of a file, right or wrong.
#[derive(Clone)]
struct Raw(Vec<u8>);

impl Raw {
    fn new(tensors: u64, keys: u64) -> Self {
        Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn u32(self, x: u32) -> Self {
        self.bytes(&x.to_le_bytes())
    }

    fn u64(self, x: u64) -> Self {
        self.bytes(&x.to_le_bytes())
    }

    fn string(self, text: &str) -> Self {
        self.u64(text.len() as u64).bytes(text.as_bytes())
    }

    /// A tensor info; dimensions innermost first, as in the file.
    fn tensor(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Self {
        let info = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(info, |raw, &dim| raw.u64(dim)).u32(ty).u64(offset)
    }

    /// Pads to the data section and adds `len` bytes of data.
    fn data(mut self, len: usize) -> Self {
        self.0.resize(self.0.len().next_multiple_of(32) + len, 0);
        self
    }
}

const F32: u32 = 0;
const Q8_0: u32 = 8;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

#[test]
fn each_fault_is_named() {
    let huge = u64::MAX;
    let cases: Vec<(&str, Raw, &str)> = vec![
        ("empty", Raw(vec![]), "header: the file ends at byte 0, but 4 bytes are needed"),
        ("bad magic", Raw(b"ggjt\x03\0\0\0\0\0\0\0".to_vec()), "not a GGUF file: it starts with \"ggjt\""),
        ("version 1", Raw(b"GGUF".to_vec()).u32(1).u64(0).u64(0), "GGUF version 1 is not supported"),
        ("version 4", Raw(b"GGUF".to_vec()).u32(400).u64(0).u64(0), "GGUF version 400 is not supported"),
        ("big-endian", Raw(b"GGUF".to_vec()).bytes(&3u32.to_be_bytes()).u64(0).u64(0), "the file is big-endian"),
        ("tensor count", Raw::new(huge, 0).data(64), "claims 18446744073709551615 tensors"),
        ("key count", Raw::new(0, 1 << 40).data(64), "claims 1099511627776 keys"),
        ("key length", Raw::new(0, 1).u64(huge).data(64), "name of key 0: the file claims"),
        ("string length", Raw::new(0, 1).string("k").u32(STRING).u64(1 << 60).data(9), "key \"k\": the file claims"),
        (
            "array length",
            Raw::new(0, 1).string("k").u32(ARRAY).u32(4).u64(1 << 61).data(64),
            "key \"k\": the file claims 2305843009213693952 array elements",
        ),
        (
            "nested array",
            Raw::new(0, 1).string("k").u32(ARRAY).u32(ARRAY).u64(1).data(64),
            "key \"k\": arrays of arrays are not supported",
        ),
        ("unknown kind", Raw::new(0, 1).string("k").u32(77).data(64), "key \"k\": value kind 77 is unknown"),
        ("boolean", Raw::new(0, 1).string("k").u32(7).bytes(&[2]), "key \"k\": a boolean is stored as 2"),
        (
            "not UTF-8",
            Raw::new(0, 1).string("k").u32(STRING).u64(2).bytes(&[0xff, 0xfe]),
            "key \"k\": the string at byte 37 is not UTF-8",
        ),
        (
            "twice the same key",
            Raw::new(0, 2).string("k").u32(7).bytes(&[1]).string("k").u32(7).bytes(&[1]),
            "key \"k\": the key appears twice",
        ),
        (
            "alignment",
            Raw::new(0, 1).string("general.alignment").u32(4).u32(0).data(64),
            "key \"general.alignment\": the alignment 0 is not a power of two",
        ),
        (
            "alignment of a wrong kind",
            Raw::new(0, 1).string("general.alignment").u32(STRING).string("32"),
            "key \"general.alignment\" holds a string, expected an unsigned 32-bit integer",
        ),
        ("no dimension", Raw::new(1, 0).tensor("t", &[], F32, 0).data(64), "tensor \"t\": the tensor has 0 dimensions"),
        (
            "five dimensions",
            Raw::new(1, 0).tensor("t", &[1, 1, 1, 1, 1], F32, 0).data(64),
            "tensor \"t\": the tensor has 5 dimensions, expected 1 to 4",
        ),
        ("a zero dimension", Raw::new(1, 0).tensor("t", &[4, 0], F32, 0).data(64), "the dimension 0 is out of range"),
        (
            "overflowing shape",
            Raw::new(1, 0).tensor("t", &[1 << 40, 1 << 40], F32, 0).data(64),
            "tensor \"t\": the shape [1099511627776, 1099511627776] is too large",
        ),
        (
            "size just past the file",
            Raw::new(1, 0).tensor("t", &[17], F32, 0).data(64),
            "tensor \"t\": its 68 bytes at offset 0 of the data section lie outside the file",
        ),
        (
            "offset past the end",
            Raw::new(1, 0).tensor("t", &[4], F32, huge - 31).data(64),
            "tensor \"t\": its 16 bytes at offset 18446744073709551584",
        ),
        (
            "offset out of line",
            Raw::new(1, 0).tensor("t", &[4], F32, 4).data(64),
            "tensor \"t\": its offset 4 is not a multiple of the alignment 32",
        ),
        (
            "overlap",
            Raw::new(2, 0).tensor("t", &[16], F32, 0).tensor("u", &[4], F32, 32).data(64),
            "tensor \"u\": its data overlaps that of tensor \"t\"",
        ),
        (
            "part of a block",
            Raw::new(1, 0).tensor("t", &[33, 2], Q8_0, 0).data(640),
            "tensor \"t\": rows of 33 values do not divide into Q8_0 blocks of 32",
        ),
        (
            "unsupported type",
            Raw::new(1, 0).tensor("t", &[256], 17, 0).data(640),
            "tensor \"t\" has type IQ2_XS, which is not supported; convert the model to one of F32, F16",
        ),
        ("unknown type", Raw::new(1, 0).tensor("t", &[256], 999, 0).data(640), "tensor \"t\": type 999 is unknown"),
        (
            "twice the same tensor",
            Raw::new(2, 0).tensor("t", &[4], F32, 0).tensor("t", &[4], F32, 32).data(64),
            "tensor \"t\": the tensor appears twice",
        ),
        (
            "truncated tensor info",
            Raw::new(1, 0).string(&"t".repeat(20)).u32(4).u64(1),
            "ttt\": the file ends at byte 64",
        ),
    ];
    for (case, raw, expected) in cases {
        let error = Gguf::from_vec(raw.0).unwrap_err().to_string();
        assert!(error.starts_with("memory: "), "{case}: {error}");
        assert!(error.contains(expected), "{case}: {error}");
        assert!(!error.contains('\n') && !error.ends_with('.'), "{case}: {error}");
    }
}

#[test]
fn the_stated_alignment_decides_where_data_begins() {
    let raw = Raw::new(1, 1).string("general.alignment").u32(4).u32(8).tensor("t", &[2], F32, 8);
    let mut bytes = raw.0;
    bytes.resize(bytes.len().next_multiple_of(8) + 8, 0);
    bytes.extend([1.0f32, 2.0].iter().flat_map(|x| x.to_le_bytes()));
    let gguf = Gguf::from_vec(bytes).unwrap();
    assert_eq!(gguf.tensor("t").unwrap().to_f32().unwrap(), [1.0, 2.0]);
}

#[test]
fn the_message_names_the_file() {
    let folder = Folder::new("named");
    let path = folder.file("broken.gguf", b"GGUF");
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: header: ", path.display())), "{error}");
    let path = folder.file("empty.gguf", b"");
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(error.contains("empty.gguf: header: the file ends at byte 0"), "{error}");
    let error = Checkpoint::open(&folder.path().join("absent.gguf")).unwrap_err().to_string();
    assert!(error.starts_with("cannot open ") && error.contains("absent.gguf"), "{error}");
}

/// A file may be larger than memory, so its size does not justify a reservation of that size.
#[test]
fn a_huge_file_does_not_make_a_huge_header() {
    let folder = Folder::new("sparse");
    let path = folder.path().join("sparse.gguf");
    let file = std::fs::File::create(&path).unwrap();
    let raw = Raw::new(0, 1).string("k").u32(ARRAY).u32(0).u64(1 << 36);
    std::io::Write::write_all(&mut &file, &raw.0).unwrap();
    // Nothing is stored for the hole.
    file.set_len(1 << 37).unwrap();
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(error.contains("key \"k\": the file claims 68719476736 array elements, more than the 268435"), "{error}");
}

#[test]
fn a_file_cut_at_any_byte_is_an_error() {
    let whole = small_file();
    let end = whole.len() - small_file().iter().rev().take_while(|&&byte| byte == 0).count();
    for length in 0..end {
        let error = Gguf::from_vec(whole[..length].to_vec()).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("memory: "), "{length}: {error}");
    }
}

/// Whatever the bytes, opening ends, and what was opened can be used.
fn exercise(bytes: Vec<u8>) {
    if let Ok(gguf) = Gguf::from_vec(bytes) {
        for tensor in gguf.tensors() {
            assert_eq!(tensor.to_f32().unwrap().len(), tensor.elements());
            assert!(tensor.expert(0).is_some() == (tensor.shape.len() > 1));
        }
        let _ = crate::inspect::inspect(&Checkpoint::Gguf(gguf));
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = small_file();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        exercise(bytes);
    }

    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..256), tensors in 0u64..3, keys in 0u64..3) {
        exercise(Raw::new(tensors, keys).bytes(&tail).0);
    }
}
