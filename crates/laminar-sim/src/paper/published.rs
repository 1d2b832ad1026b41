//! The published numbers, as our notes have them; sections are theirs.

/// Rates, attainment and requests in the system of one panel of the paper's figure on latency targets (section 2.5).
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// Model profile.
    pub model: &'static str,
    /// Workload.
    pub workload: &'static str,
    /// Seconds to the first token that a request may take.
    pub ttft_s: f64,
    /// Seconds between two tokens that a request may take.
    pub tbt_s: f64,
    /// Layer groups of a full cohort.
    pub groups: usize,
    /// Rate; per cent in time, chunked and layered; requests in the system, chunked and layered.
    pub points: [(f64, f64, f64, f64, f64); 6],
}

impl Panel {
    /// The highest published rate at which at least 90 % of the requests are in time: chunked and layered.
    pub fn sustained(&self) -> (f64, f64) {
        let highest = |share: fn(&(f64, f64, f64, f64, f64)) -> f64| {
            let kept = self.points.iter().filter(|point| share(point) >= 90.0).map(|point| point.0);
            kept.fold(0.0, f64::max)
        };
        (highest(|point| point.1), highest(|point| point.2))
    }
}

/// Section 2.5.
pub const PANELS: [Panel; 4] = [
    Panel {
        model: "qwen3-30b-a3b",
        workload: "arxiv",
        ttft_s: 10.0,
        tbt_s: 0.125,
        groups: 16,
        points: [
            (1.3, 100.0, 100.0, 13.0, 8.0),
            (1.4, 97.6, 100.0, 15.0, 10.0),
            (1.5, 43.7, 100.0, 28.0, 11.0),
            (1.6, 14.4, 100.0, 53.0, 14.0),
            (1.7, 11.4, 98.2, 79.0, 17.0),
            (1.8, 7.8, 80.8, 111.0, 23.0),
        ],
    },
    Panel {
        model: "gpt-oss-20b",
        workload: "arxiv",
        ttft_s: 10.0,
        tbt_s: 0.1,
        groups: 12,
        points: [
            (2.1, 100.0, 100.0, 19.0, 9.0),
            (2.3, 61.7, 100.0, 33.0, 13.0),
            (2.5, 12.6, 100.0, 92.0, 15.0),
            (2.7, 8.4, 100.0, 149.0, 20.0),
            (2.9, 6.6, 77.8, 203.0, 33.0),
            (3.1, 5.4, 18.5, 258.0, 84.0),
        ],
    },
    Panel {
        model: "qwen3-30b-a3b",
        workload: "sharegpt",
        ttft_s: 5.0,
        tbt_s: 0.125,
        groups: 16,
        points: [
            (4.0, 100.0, 100.0, 54.0, 51.0),
            (4.2, 98.2, 100.0, 60.0, 57.0),
            (4.4, 71.9, 100.0, 72.0, 63.0),
            (4.6, 34.1, 99.4, 93.0, 67.0),
            (4.8, 10.8, 87.4, 141.0, 73.0),
            (5.0, 9.0, 55.6, 195.0, 87.0),
        ],
    },
    Panel {
        model: "gpt-oss-20b",
        workload: "sharegpt",
        ttft_s: 5.0,
        tbt_s: 0.1,
        groups: 12,
        points: [
            (5.8, 99.3, 98.0, 68.0, 63.0),
            (6.0, 96.8, 94.0, 76.0, 68.0),
            (6.2, 49.7, 92.2, 101.0, 76.0),
            (6.4, 34.7, 91.6, 129.0, 85.0),
            (6.6, 10.2, 88.6, 182.0, 95.0),
            (6.8, 6.3, 81.3, 242.0, 108.0),
        ],
    },
];

/// One prompt in chunks through all layers (section 2.3).
#[derive(Clone, Copy, Debug)]
pub struct Chunked {
    /// Tokens of a chunk.
    pub chunk: usize,
    /// Bytes of experts in all chunks, in 10^9.
    pub load_gb: f64,
    /// Milliseconds in expert kernels, as the authors' plotting script has them.
    pub experts_ms: f64,
    /// Milliseconds in all, read off the figure.
    pub total_ms: f64,
    /// Milliseconds in attention kernels, where the script has them.
    pub attention_ms: Option<f64>,
    /// Milliseconds in all as the script has them, where it does: attention, experts and the rest. The figure shows other runs.
    pub script_ms: Option<f64>,
}

/// The model of section 2.3, ..
pub const BY_CHUNK_MODEL: &str = "qwen3-30b-a3b";

/// .. the tokens of its prompt, ..
pub const BY_CHUNK_TOKENS: usize = 8192;

/// .. and its rows.
pub const BY_CHUNK: [Chunked; 5] = [
    Chunked {
        chunk: 512,
        load_gb: 764.1,
        experts_ms: 311.95,
        total_ms: 560.0,
        attention_ms: Some(68.98),
        script_ms: Some(68.98 + 311.95 + 104.65),
    },
    Chunked { chunk: 1024, load_gb: 406.3, experts_ms: 184.88, total_ms: 372.0, attention_ms: None, script_ms: None },
    Chunked { chunk: 2048, load_gb: 213.3, experts_ms: 112.28, total_ms: 264.0, attention_ms: None, script_ms: None },
    Chunked { chunk: 4096, load_gb: 110.1, experts_ms: 84.57, total_ms: 233.0, attention_ms: None, script_ms: None },
    Chunked {
        chunk: 8192,
        load_gb: 57.1,
        experts_ms: 75.68,
        total_ms: 209.0,
        attention_ms: Some(35.76),
        script_ms: Some(35.76 + 75.68 + 69.0),
    },
];

/// Share of the experts that decode batches touch in a layer of Qwen3-30B-A3B (section 2.2): rows, per cent. The first and the
/// third are bounds from above.
pub const COVERAGE: [(usize, f64); 4] = [(16, 50.0), (32, 55.0), (64, 70.0), (128, 86.3)];

/// Milliseconds of a decode step of 32 sequences at 4096 tokens of context: the paper's limits for gaps are about five times
/// that (section 2.1).
pub const DECODE_STEP_MS: [(&str, f64); 2] = [("qwen3-30b-a3b", 25.0), ("gpt-oss-20b", 20.0)];

/// Rows of these decode steps, and their context.
pub const DECODE_STEP: (usize, usize) = (32, 4096);
