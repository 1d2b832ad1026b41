//! What the system tells of the machine's memory.

use std::collections::BTreeMap;
use std::path::Path;

use laminar_engine::available_memory;

/// The last-level cache where the system does not tell.
const USUAL_CACHE: usize = 64 << 20;
/// The buffer for measuring memory: so many times the last-level caches, within these bounds and a quarter of the memory
/// that is available.
const TIMES_CACHE: usize = 4;
const SMALLEST_BUFFER: usize = 128 << 20;
const LARGEST_BUFFER: usize = 4 << 30;

/// Bytes of a buffer that does not fit the caches.
pub fn buffer_bytes() -> usize {
    let cache = last_level_caches().unwrap_or(USUAL_CACHE);
    let wanted = cache.saturating_mul(TIMES_CACHE).clamp(SMALLEST_BUFFER, LARGEST_BUFFER);
    match available_memory() {
        Some(bytes) => wanted.min(usize::try_from(bytes / 4).unwrap_or(usize::MAX)),
        None => wanted,
    }
}

/// Bytes of all last-level caches together, where the system tells.
fn last_level_caches() -> Option<usize> {
    let mut caches = BTreeMap::new();
    for cpu in 0..4096 {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index3");
        let folder = Path::new(&folder);
        let Ok(size) = std::fs::read_to_string(folder.join("size")) else {
            break;
        };
        let sharers = std::fs::read_to_string(folder.join("shared_cpu_list")).unwrap_or_default();
        caches.insert(sharers, kibibytes(&size)?);
    }
    (!caches.is_empty()).then(|| caches.values().sum())
}

/// `32768K` in bytes.
fn kibibytes(text: &str) -> Option<usize> {
    text.trim().strip_suffix('K')?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_sizes_are_in_kibibytes() {
        assert_eq!(kibibytes("32768K\n"), Some(32 << 20));
        assert_eq!(kibibytes("many"), None);
    }
}
