//! Running a model by hand in tests: one sequence, any schedule.

// Each test file uses its part, and a test says what went wrong by panicking.
#![allow(dead_code, clippy::unwrap_used)]

use std::ops::Range;

use laminar_kernels::Pool;
use laminar_model::{BLOCK_LEN, ExpertLoads, KvCache, KvType, Model, RowSpan, Scratch, StateSlots};

/// One sequence in a KV cache of its own.
pub struct Sequence<'a> {
    pub model: &'a Model,
    pub pool: &'a Pool,
    pub kv: KvCache,
    pub scratch: Scratch,
    pub blocks: Vec<u32>,
    pub loads: ExpertLoads,
    pub filled: usize,
}

impl<'a> Sequence<'a> {
    pub fn new(model: &'a Model, pool: &'a Pool, positions: usize, kv: KvType) -> Self {
        let count = positions.div_ceil(BLOCK_LEN);
        Self {
            model,
            pool,
            kv: KvCache::new(model.config(), count, BLOCK_LEN, kv),
            scratch: Scratch::default(),
            // Handed out backwards, so that a wrong block index shows.
            blocks: (0..count as u32).rev().collect(),
            loads: ExpertLoads::default(),
            filled: 0,
        }
    }

    fn run(&mut self, layers: Range<usize>, first_pos: usize, hidden: &mut [f32]) {
        let rows = hidden.len() / self.model.config().row_width();
        let span =
            RowSpan { first_row: 0, rows, first_pos, blocks: &self.blocks, state: StateSlots::own(0), prefill: true };
        self.model
            .forward(self.pool, &mut self.kv, &mut self.scratch, layers, &[span], hidden, &mut self.loads)
            .unwrap();
    }

    /// Feeds `tokens` through all layers, cut into `groups` calls along the layers; returns the hidden rows.
    pub fn feed_grouped(&mut self, tokens: &[u32], groups: usize) -> Vec<f32> {
        let mut hidden = Vec::new();
        self.model.embed(tokens, &mut hidden).unwrap();
        let layers = self.model.layers();
        for group in 0..groups {
            let range = layers * group / groups..layers * (group + 1) / groups;
            self.run(range, self.filled, &mut hidden);
        }
        self.filled += tokens.len();
        hidden
    }

    /// Feeds `tokens` and returns the logits of every row.
    pub fn feed(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let hidden = self.feed_grouped(tokens, 1);
        self.logits(&hidden)
    }

    pub fn logits(&mut self, hidden: &[f32]) -> Vec<Vec<f32>> {
        let mut out = Vec::new();
        self.model.logits(self.pool, &mut self.scratch, hidden, &mut out).unwrap();
        out.chunks_exact(self.model.vocab_size()).map(<[f32]>::to_vec).collect()
    }
}

/// Index of the largest value, the lowest among equals.
pub fn argmax(row: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &x) in row.iter().enumerate() {
        if x > row[best] {
            best = i;
        }
    }
    best as u32
}

/// A model's first choices where it is fed what another program was fed and has chosen, step by step.
pub fn first_choices(model: &Model, pool: &Pool, prompt: &[u32], chosen: &[u32]) -> Vec<u32> {
    let mut sequence = Sequence::new(model, pool, prompt.len() + chosen.len(), KvType::F16);
    let mut row = sequence.feed(prompt).pop().unwrap();
    let mut choices = Vec::new();
    for &id in chosen {
        choices.push(argmax(&row));
        row = sequence.feed(&[id]).pop().unwrap();
    }
    choices
}

/// Feeds a model what llama.cpp was fed and has chosen, step by step: wherever llama.cpp's first choice leads its second by
/// more than `least`, ours must be the same. Returns how many steps were compared.
pub fn agrees_where_clear(
    model: &Model,
    pool: &Pool,
    prompt: &[u32],
    chosen: &[u32],
    gaps: &[f32],
    least: f32,
    name: &str,
) -> usize {
    let ours = first_choices(model, pool, prompt, chosen);
    let mut compared = 0;
    for (step, ((ours, id), &gap)) in ours.iter().zip(chosen).zip(gaps).enumerate() {
        if gap > least {
            assert_eq!(ours, id, "{name}: step {step}, reference gap {gap}");
            compared += 1;
        }
    }
    println!("{name}: {compared} of {} steps compared", gaps.len());
    compared
}

/// A real model file from the test-model cache, or `None` with a line that says it was skipped.
pub fn real_model(file: &str) -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("LAMINAR_TEST_MODELS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models"),
        std::path::PathBuf::from,
    );
    // The model that the program embeds is always there.
    let embedded = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../laminar/assets");
    if let Some(path) = [folder, embedded].map(|f| f.join(file)).into_iter().find(|p| p.is_file()) {
        return Some(path);
    }
    eprintln!("skipped: {file} is not in the model cache (tools/models/fetch.py)");
    None
}
