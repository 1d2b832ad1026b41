//! Writing planned tensors: some rows at a time, with all threads, in the order of the file.

use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use laminar_kernels::{Pool, WeightType, quantize};

use super::planned::Planned;
use crate::checkpoint::{CheckpointError, TensorSpec};

/// Values that a thread works on at once: a megabyte of floats.
const PIECE: usize = 1 << 18;
/// Pieces a thread has in a batch; what a batch makes is held in memory and written together.
const PIECES: usize = 4;

/// Where one piece came out.
type Slot = Mutex<Result<Vec<u8>, CheckpointError>>;

/// Writes one tensor in the type of `spec`, and tells `done` the bytes of it that are written.
pub(super) fn write(
    planned: &Planned<'_>,
    spec: &TensorSpec,
    pool: &Pool,
    out: &mut dyn Write,
    done: &mut dyn FnMut(u64),
) -> Result<(), CheckpointError> {
    let pieces = pieces(planned, spec.ty);
    let mut written = 0;
    for batch in pieces.chunks(pool.threads() * PIECES) {
        let slots: Vec<Slot> = batch.iter().map(|_| Mutex::new(Ok(Vec::new()))).collect();
        pool.run(batch.len(), &|task| {
            let made = make(planned, spec, batch[task].clone());
            *slots[task].lock().unwrap_or_else(PoisonError::into_inner) = made;
        });
        for slot in slots {
            let bytes = slot.into_inner().unwrap_or_else(PoisonError::into_inner)?;
            out.write_all(&bytes).map_err(|e| CheckpointError::io("write", Path::new(&spec.name), e))?;
            written += bytes.len() as u64;
            done(written);
        }
    }
    Ok(())
}

/// The values of a tensor in pieces of whole rows, none of which crosses from one matrix to the next.
fn pieces(planned: &Planned<'_>, ty: WeightType) -> Vec<Range<usize>> {
    let (rows, cols) = planned.matrix_shape();
    let each = rows * cols;
    // Rows of a vector are single values, and blocks must stay whole.
    let unit = if cols.is_multiple_of(ty.block_len()) { cols } else { cols * ty.block_len() };
    let step = (PIECE / unit.max(1)).max(1) * unit;
    let mut pieces = Vec::new();
    for start in (0..planned.elements()).step_by(each.max(1)) {
        let end = start + each;
        pieces.extend((start..end).step_by(step.max(1)).map(|at| at..end.min(at + step)));
    }
    pieces
}

/// One piece in the type of the file.
fn make(planned: &Planned<'_>, spec: &TensorSpec, range: Range<usize>) -> Result<Vec<u8>, CheckpointError> {
    let mut buffer = Vec::new();
    if let Some(bytes) = planned.bytes(spec.ty, range.clone(), &mut buffer) {
        return bytes.map(<[u8]>::to_vec);
    }
    let mut values = Vec::new();
    planned.read(range, &mut values, &mut buffer)?;
    let mut bytes = Vec::new();
    quantize(spec.ty, &values, &mut bytes).map_err(|source| CheckpointError::Values {
        file: "new file".to_string(),
        tensor: spec.name.clone(),
        source,
    })?;
    Ok(bytes)
}
