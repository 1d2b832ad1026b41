//! The header: what is read back, and that no header whatever leads outside its file.

use laminar_kernels::{Matrix, WeightType};
use proptest::prelude::*;

use super::identity::{Part, hash};
use super::table::{self, ALIGNMENT, Entry, Table};

/// A table of three tensors, and a whole file for it.
fn sample() -> (Table, Vec<u8>) {
    let entry = |name: &str, ty, count, rows, cols| {
        let bytes = count * Matrix::packed_bytes_of(ty, rows, cols).unwrap();
        Entry { name: name.to_owned(), ty, count, rows, cols, offset: 0, bytes, sample: 0 }
    };
    let entries = vec![
        entry("blk.0.attn_q.weight", WeightType::Q4_0, 1, 40, 64),
        entry("blk.0.ffn_up_exps.weight", WeightType::Q8_0, 8, 33, 32),
        entry("output.weight", WeightType::F16, 1, 100, 10),
    ];
    let parts = vec![Part { bytes: 1, changed: 2, head: 3 }, Part { bytes: u64::MAX, changed: 0, head: 7 }];
    let table = Table::arrange(99, parts, entries).unwrap();
    let mut file = table.encode();
    file.resize(table.file_bytes, 0);
    (table, file)
}

/// That, with weights that are not zero.
fn sample_of_weights() -> (Table, Vec<u8>) {
    let (mut table, mut file) = sample();
    for entry in &mut table.entries {
        let weights: Vec<u8> = (0..entry.bytes).map(|i| (i % 251) as u8 + 1).collect();
        let each = entry.bytes / entry.count;
        entry.sample = table::sample(entry.count, each, |matrix, within| weights[matrix * each..].get(within));
        file[entry.offset..][..entry.bytes].copy_from_slice(&weights);
    }
    let header = table.encode();
    file[..header.len()].copy_from_slice(&header);
    (table, file)
}

/// Bytes of the header of a file.
fn header_bytes(file: &[u8]) -> usize {
    u64::from_le_bytes(file[8..16].try_into().unwrap()) as usize
}

/// Makes the checksum right again, as nobody but an attacker would.
fn seal(file: &mut [u8]) {
    let end = header_bytes(file);
    if let Some(body) = file.get(24..end) {
        let sum = hash(body);
        file[16..24].copy_from_slice(&sum.to_le_bytes());
    }
}

/// That what a table says of its file holds, so that a matrix may be made of every entry.
fn stays_inside(table: &Table, file: &[u8]) {
    assert_eq!(table.file_bytes, file.len());
    for entry in &table.entries {
        let each = Matrix::packed_bytes_of(entry.ty, entry.rows, entry.cols).unwrap();
        assert_eq!(each.checked_mul(entry.count), Some(entry.bytes));
        assert!(entry.offset.checked_add(entry.bytes).unwrap() <= file.len());
        assert!(entry.offset >= header_bytes(file) && entry.offset.is_multiple_of(ALIGNMENT));
    }
}

#[test]
fn a_header_is_read_as_it_was_written() {
    let (table, file) = sample();
    assert_eq!(Table::parse(&file), Ok(table));
    stays_inside(&Table::parse(&file).unwrap(), &file);
}

#[test]
fn any_flipped_bit_of_a_header_is_noticed() {
    let (_, file) = sample();
    for bit in 0..header_bytes(&file) * 8 {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Table::parse(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    let (_, file) = sample();
    for len in (0..file.len()).step_by(97).chain([file.len() - 1]) {
        assert!(Table::parse(&file[..len]).is_err(), "{len}");
    }
    assert!(Table::parse(&[file.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let (table, _) = sample();
    let twice = [table.entries.clone(), vec![table.entries[0].clone()]].concat();
    let table = Table::arrange(99, table.parts, twice).unwrap();
    let mut file = table.encode();
    file.resize(table.file_bytes, 0);
    assert!(Table::parse(&file).unwrap_err().contains("tensor"));
}

#[test]
fn lost_pages_of_a_tensor_are_noticed() {
    let (table, mut file) = sample_of_weights();
    assert!(table.entries.iter().all(|entry| entry.is_intact(&file)));
    for entry in &table.entries {
        // A third of a tensor, wherever it begins, and its ends.
        let third = entry.bytes / 3;
        for (from, bytes) in
            [(0, 1), (0, third), (third / 2, third), (entry.bytes - third, third), (entry.bytes - 1, 1)]
        {
            let place = entry.offset + from..entry.offset + from + bytes;
            let before = file[place.clone()].to_vec();
            file[place.clone()].fill(0);
            assert!(!entry.is_intact(&file), "{}: {bytes} bytes from {from} on", entry.name);
            file[place].copy_from_slice(&before);
        }
    }
    // An entry that leads out of its file is no reason to panic.
    assert!(!table.entries[1].is_intact(&file[..table.entries[1].offset + 1]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Bytes anywhere in the header are changed and the checksum is made right, so that every other check is met.
    #[test]
    fn a_hostile_header_never_leads_outside_its_file(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        extreme in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(vec![0u64, 1, 1 << 32, u64::MAX]))),
    ) {
        let (_, mut file) = sample();
        let end = header_bytes(&file);
        for (at, byte) in &changes {
            file[at.index(end)] = *byte;
        }
        if let Some((at, value)) = &extreme {
            let at = at.index(end - 8);
            file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        seal(&mut file);
        if let Ok(table) = Table::parse(&file) {
            stays_inside(&table, &file);
        }
    }
}
