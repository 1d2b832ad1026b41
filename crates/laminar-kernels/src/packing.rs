//! Packing whole tensors: rows are read piece by piece and packed by all threads, into one allocation.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::matrix::{Shape, pack_panels};
use crate::panel::LANES;
use crate::storage::Memory;
use crate::{KernelError, Matrix, Pool, WeightType};

/// Bytes of the file that are packed at once: few enough to stay in the second-level cache between being read and being
/// packed, enough to make reading them one by one cost nothing.
const PIECE_BYTES: usize = 256 << 10;

/// Where the rows of a tensor's matrices come from. Called from several threads.
pub trait RowSource: Sync {
    /// Why rows can't be read.
    type Error: Send;

    /// The bytes `range` of a matrix in the file's format, whole rows: from where they lie in memory, or read into
    /// `buffer`, whose contents are of no consequence.
    ///
    /// # Errors
    ///
    /// Packing ends with this error.
    fn read<'a>(&'a self, matrix: usize, range: Range<usize>, buffer: &'a mut Vec<u8>)
    -> Result<&'a [u8], Self::Error>;

    /// Told that so many more bytes of the file are packed.
    fn packed(&self, bytes: usize) {
        let _ = bytes;
    }
}

/// A tensor about to be packed: one matrix, or several of one shape (the experts of a layer).
pub struct Packer {
    shape: Shape,
    memory: Memory,
}

impl Packer {
    /// Takes the memory for `count` matrices of `rows` outputs x `cols` inputs.
    ///
    /// # Errors
    ///
    /// If a matrix is empty or too large, `cols` is not a whole number of blocks, or the system has no memory left.
    pub fn new(ty: WeightType, count: usize, rows: usize, cols: usize) -> Result<Packer, KernelError> {
        let shape = Shape::new(ty, rows, cols)?;
        let bytes = shape.packed_bytes.checked_mul(count).ok_or(KernelError::TooLarge { rows, cols })?;
        Ok(Packer { memory: Memory::zeroed(bytes)?, shape })
    }

    /// Packs all rows.
    ///
    /// # Errors
    ///
    /// The first error of `source`, or that the system refused the memory.
    ///
    /// # Panics
    ///
    /// If `source` gives another number of bytes than it was asked for.
    pub fn pack<S: RowSource>(mut self, pool: &Pool, source: &S) -> Result<Vec<Matrix>, S::Error>
    where
        S::Error: From<KernelError>,
    {
        let Shape { packed_bytes, .. } = self.shape;
        let panels = (PIECE_BYTES / self.shape.source_panel_bytes()).max(1);
        let (piece_bytes, source_bytes) = (panels * self.shape.panel_bytes, panels * self.shape.source_panel_bytes());
        // In the order of the file, so that it is read from one end to the other.
        let pieces = self.memory.bytes_mut().chunks_mut(packed_bytes).enumerate().flat_map(|(matrix, bytes)| {
            bytes.chunks_mut(piece_bytes).enumerate().map(move |(piece, bytes)| (matrix, piece, bytes))
        });
        let pieces = Mutex::new(Some(pieces));
        let failure = Mutex::new(None);
        let shape = &self.shape;
        pool.run(pool.threads(), &|_| {
            let mut buffer = Vec::new();
            loop {
                let Some((matrix, piece, to)) = lock(&pieces).as_mut().and_then(Iterator::next) else {
                    return;
                };
                let range = piece * source_bytes..shape.source_bytes.min((piece + 1) * source_bytes);
                match source.read(matrix, range.clone(), &mut buffer) {
                    Ok(rows) => {
                        assert_eq!(rows.len(), range.len(), "a source must give what it is asked for");
                        pack_panels(shape, rows, to);
                        source.packed(rows.len());
                    }
                    Err(error) => {
                        lock(&failure).get_or_insert(error);
                        *lock(&pieces) = None;
                    }
                }
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let parts = self.memory.into_parts(packed_bytes)?;
        Ok(parts.into_iter().map(|lines| Matrix::new(&self.shape, lines)).collect())
    }
}

/// What is behind these locks is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that tells the layout of packed weights from those of other versions of this crate.
pub fn packed_layout() -> u64 {
    // Weights without meaning, packed: a change of the layout shows in them, whoever forgets to say so.
    let (rows, cols) = (2 * LANES + 3, 512);
    // FNV-1a, which is the same everywhere.
    let fold = |hash: u64, bytes: &[u8]| {
        bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    };
    WeightType::ALL.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, ty| {
        let bytes = ty.row_bytes(cols).unwrap_or(0) * rows;
        let data: Vec<u8> = (0..bytes).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 11) as u8).collect();
        let hash = fold(hash, ty.name().as_bytes());
        Matrix::pack(ty, rows, cols, &data).map_or(hash, |matrix| fold(hash, matrix.packed()))
    })
}

/// Rows that lie in memory.
struct InMemory<'a>(&'a [&'a [u8]]);

impl RowSource for InMemory<'_> {
    type Error = KernelError;

    fn read<'a>(&'a self, matrix: usize, range: Range<usize>, _: &'a mut Vec<u8>) -> Result<&'a [u8], KernelError> {
        Ok(&self.0[matrix][range])
    }
}

impl Matrix {
    /// Packs several matrices of one shape side by side, with all threads; each as [`Matrix::pack`] does.
    ///
    /// # Errors
    ///
    /// As [`Matrix::pack`].
    pub fn pack_all(
        pool: &Pool,
        ty: WeightType,
        rows: usize,
        cols: usize,
        data: &[&[u8]],
    ) -> Result<Vec<Matrix>, KernelError> {
        let shape = Shape::new(ty, rows, cols)?;
        for data in data {
            shape.check(data)?;
        }
        Packer::new(ty, data.len(), rows, cols)?.pack(pool, &InMemory(data))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::testing::weights;

    #[test]
    fn many_threads_and_pieces_pack_like_one() {
        for ty in WeightType::ALL {
            // A piece of F32 is a panel here, one of Q4_0 is several; the last panel is not full.
            let (rows, cols) = (333, 1024);
            let data: Vec<_> = (0..3).map(|seed| weights(ty, rows, cols, seed)).collect();
            let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
            let all = Matrix::pack_all(&Pool::new(3), ty, rows, cols, &data).unwrap();
            assert_eq!(all.len(), 3);
            for (matrix, data) in all.iter().zip(&data) {
                let alone = Matrix::pack(ty, rows, cols, data).unwrap();
                assert!(matrix.packed() == alone.packed(), "{ty:?}");
                assert!(alone.packed().iter().any(|byte| *byte != 0));
            }
        }
    }

    #[test]
    fn packed_weights_in_a_file_are_the_matrix_they_were() {
        let (ty, rows, cols) = (WeightType::Q4K, 37, 512);
        let matrix = Matrix::pack(ty, rows, cols, &weights(ty, rows, cols, 1)).unwrap();
        let bytes = matrix.packed().len();
        assert_eq!(Matrix::packed_bytes_of(ty, rows, cols), Ok(bytes));
        let mut file = memmap2::MmapMut::map_anon(128 + bytes).unwrap();
        file[64..64 + bytes].copy_from_slice(matrix.packed());
        let file = Arc::new(file.make_read_only().unwrap());
        let again = Matrix::from_packed(ty, rows, cols, &file, 64).unwrap();
        assert!(again.packed() == matrix.packed());
        for at in [0, 128] {
            assert!(Matrix::from_packed(ty, rows, cols, &file, at).is_ok());
        }
        for at in [1, 32, 192, usize::MAX - 63, usize::MAX] {
            let outside = KernelError::Outside { at, expected: bytes, found: 128 + bytes };
            assert_eq!(Matrix::from_packed(ty, rows, cols, &file, at).unwrap_err(), outside);
        }
        assert!(Matrix::from_packed(ty, rows + 100, cols, &file, 0).is_err());
        assert!(Matrix::from_packed(ty, usize::MAX, cols, &file, 0).is_err());
    }

    #[test]
    fn the_layout_has_one_number() {
        assert_eq!(packed_layout(), packed_layout());
        assert_ne!(packed_layout(), 0);
    }

    #[test]
    fn matrices_of_a_tensor_lie_side_by_side() {
        let ty = WeightType::Q8_0;
        let data = weights(ty, 40, 64, 0);
        let all = Matrix::pack_all(&Pool::new(1), ty, 40, 64, &[&data, &data]).unwrap();
        assert_eq!(all[0].packed().as_ptr_range().end, all[1].packed().as_ptr());
        let none = Matrix::pack_all(&Pool::new(1), ty, 40, 64, &[]).unwrap();
        assert!(none.is_empty());
    }

    /// Fails at a matrix, and counts.
    struct Failing {
        at: usize,
        packed: AtomicUsize,
    }

    impl RowSource for Failing {
        type Error = KernelError;

        fn read<'a>(
            &'a self,
            matrix: usize,
            range: Range<usize>,
            buffer: &'a mut Vec<u8>,
        ) -> Result<&'a [u8], KernelError> {
            if matrix == self.at {
                return Err(KernelError::Empty { rows: matrix, cols: 0 });
            }
            buffer.clear();
            buffer.resize(range.len(), 0);
            Ok(buffer)
        }

        fn packed(&self, bytes: usize) {
            self.packed.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_error_of_the_source_ends_packing_and_the_rest_is_counted() {
        for threads in [1, 3] {
            let run = |at| {
                let source = Failing { at, packed: AtomicUsize::new(0) };
                let packer = Packer::new(WeightType::F32, 4, 100, 100).unwrap();
                let matrices = packer.pack(&Pool::new(threads), &source).map(|all| all.len());
                (matrices, source.packed.into_inner())
            };
            assert_eq!(run(9), (Ok(4), 4 * 40_000));
            let (error, packed) = run(1);
            assert_eq!(error, Err(KernelError::Empty { rows: 1, cols: 0 }));
            assert!(packed < 4 * 40_000);
        }
    }
}
