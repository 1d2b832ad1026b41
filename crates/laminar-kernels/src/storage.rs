//! Large memory in huge pages, and where packed weights lie: in such memory, or in a mapped file.
//!
//! A tensor's weights are one allocation, however many matrices it holds. It starts at a multiple of the size of a huge
//! page and asks for such pages: a product reads weights once from end to end, and with small pages looking up where a
//! page is takes a share of that time. Where memory is full of small pages of files, the system first makes room for huge
//! ones, which can take longer than packing; it is done once.

use std::ops::Deref;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

use crate::KernelError;

/// A cache line; gives the packed bytes their alignment.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(#[allow(dead_code)] [u8; 64]); // Read as bytes, never by its field.

/// Bytes of a line.
pub(crate) const LINE: usize = size_of::<Line>();

/// Bytes of a huge page on x86-64, and on other machines a usual size.
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed memory: a tensor that is being packed, or the keys and values of a layer.
pub(crate) struct Memory {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl Memory {
    /// Zeros, at least `len` bytes of them, which take no memory before they are written.
    pub fn zeroed(len: usize) -> Result<Memory, KernelError> {
        let refused = || KernelError::Memory { bytes: len };
        // Less than a huge page starts at a small page, and so at a whole line.
        let spare = if len < HUGE_PAGE { 0 } else { HUGE_PAGE };
        let map = MmapMut::map_anon(len.checked_add(spare).ok_or_else(refused)?).map_err(|_| refused())?;
        let start = match spare {
            0 => 0,
            _ => map.as_ptr().addr().next_multiple_of(HUGE_PAGE) - map.as_ptr().addr(),
        };
        // The last part of a page stays in small ones, or it would take a whole one. A system that refuses is slower.
        // Miri knows no advice.
        #[cfg(all(target_os = "linux", not(miri)))]
        if let whole @ HUGE_PAGE.. = len / HUGE_PAGE * HUGE_PAGE {
            let _ = map.advise_range(memmap2::Advice::HugePage, start, whole);
        }
        Ok(Memory { map, start, len })
    }

    /// Has the system provide the huge page behind the first `ready` bytes, which are a whole number of such pages. Returns the
    /// bytes that are ready then: all of them where there is nothing to do, or where the system cannot do it ahead of time.
    pub fn provide(&mut self, ready: usize) -> usize {
        #[cfg(all(target_os = "linux", not(miri)))]
        if ready.saturating_add(HUGE_PAGE) <= self.len
            && self.map.advise_range(memmap2::Advice::PopulateWrite, self.start + ready, HUGE_PAGE).is_ok()
        {
            return ready + HUGE_PAGE;
        }
        self.len.max(ready)
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }

    /// All bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.len]
    }

    /// Cuts the memory into parts of `len` bytes, a whole number of lines. Nobody writes it any more.
    pub fn into_parts(self, len: usize) -> Result<Vec<Lines>, KernelError> {
        let refused = KernelError::Memory { bytes: self.len };
        let parts = self.len / len.max(1);
        let map = Map::Memory(Arc::new(self.map));
        (0..parts).map(|part| map.lines(self.start + part * len, len).ok_or(refused.clone())).collect()
    }
}

/// What lines lie in. It is only read.
#[derive(Clone)]
enum Map {
    Memory(Arc<MmapMut>),
    File(Arc<Mmap>),
}

impl Map {
    fn bytes(&self) -> &[u8] {
        match self {
            Map::Memory(map) => map,
            Map::File(map) => map,
        }
    }

    /// The `len` bytes from `start`. `None` if they are not inside the mapping, or not whole lines.
    fn lines(&self, start: usize, len: usize) -> Option<Lines> {
        let bytes = self.bytes().get(start..start.checked_add(len)?)?;
        let whole = len.is_multiple_of(LINE) && bytes.as_ptr().addr().is_multiple_of(LINE);
        whole.then(|| Lines { map: self.clone(), start, count: len / LINE })
    }
}

/// A part of a mapping, in whole lines.
#[derive(Clone)]
pub(crate) struct Lines {
    map: Map,
    start: usize,
    count: usize,
}

impl Lines {
    /// The `len` bytes from `start` of a file. `None` if they are not inside it, or not whole lines.
    pub fn new(file: &Arc<Mmap>, start: usize, len: usize) -> Option<Lines> {
        Map::File(Arc::clone(file)).lines(start, len)
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: `Map::lines`, which alone makes a `Lines`, has checked that the lines are inside the mapping and
        // aligned; the mapping neither moves nor changes its length while it is held here. Memory behind an `Arc` is
        // only read; that nobody changes a mapped file is what its owner answers for. Any bytes are a valid `Line`.
        unsafe { std::slice::from_raw_parts(self.map.bytes().as_ptr().add(self.start).cast(), self.count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_cut_into_parts() {
        for len in [LINE, 4096, HUGE_PAGE - LINE, HUGE_PAGE, 2 * HUGE_PAGE + 3 * LINE] {
            let mut memory = Memory::zeroed(len).unwrap();
            let bytes = memory.bytes_mut();
            assert_eq!(bytes.len(), len);
            assert!(bytes.iter().all(|byte| *byte == 0));
            let boundary = if len < HUGE_PAGE { LINE } else { HUGE_PAGE };
            assert!(bytes.as_ptr().addr().is_multiple_of(boundary), "{len}");
            bytes[len - 1] = 7;
            let parts = memory.into_parts(LINE).unwrap();
            assert_eq!(parts.len(), len / LINE);
            assert_eq!(parts.last().unwrap()[0].0[LINE - 1], 7);
        }
    }

    #[test]
    fn pages_that_are_provided_keep_what_is_in_them() {
        let mut memory = Memory::zeroed(2 * HUGE_PAGE + 3 * LINE).unwrap();
        memory.bytes_mut()[HUGE_PAGE + 5] = 7;
        let mut ready = 0;
        for _ in 0..3 {
            let before = ready;
            ready = memory.provide(ready);
            assert!(ready > before && ready <= memory.len);
            if ready == memory.len {
                break;
            }
        }
        assert_eq!(ready, memory.len);
        assert_eq!(memory.provide(ready), ready);
        let bytes = memory.bytes();
        assert_eq!(bytes[HUGE_PAGE + 5], 7);
        assert_eq!(bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>(), 7);
        assert_eq!(Memory::zeroed(LINE).unwrap().provide(0), LINE);
    }

    #[test]
    fn memory_that_can_not_be_is_an_error() {
        for len in [usize::MAX, usize::MAX - HUGE_PAGE, isize::MAX as usize] {
            assert_eq!(Memory::zeroed(len).err(), Some(KernelError::Memory { bytes: len }));
        }
    }

    #[test]
    fn lines_lie_inside_their_mapping_and_on_boundaries() {
        let map = Arc::new(MmapMut::map_anon(4096).unwrap().make_read_only().unwrap());
        assert_eq!(Lines::new(&map, 64, 4032).unwrap().len(), 63);
        assert_eq!(Lines::new(&map, 4096, 0).unwrap().len(), 0);
        for (start, len) in [(0, 4160), (4096, 64), (32, 64), (0, 63), (usize::MAX - 63, 64), (64, usize::MAX - 63)] {
            assert!(Lines::new(&map, start, len).is_none(), "{start} {len}");
        }
    }
}
