//! A mixture of experts with a known answer: every expert of `smollm2-upcycled.gguf` is a copy of the dense model's
//! feed-forward network and the chosen two weigh 1/2 each, so text, and even logits, must be the dense model's.
//!
//! Both files come from `tools/models/fetch.py`.

// A test says what went wrong by panicking; its helpers are no exception.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Sequence, argmax, real_model};
use laminar_kernels::Pool;
use laminar_model::checkpoint::Checkpoint;
use laminar_model::tokenizer::{EncodeOptions, Tokenizer};
use laminar_model::{KvType, LoadOptions, Model};

const STEPS: usize = 32;
const PROMPTS: [&str; 2] = [
    "The river rises in the mountains and flows through three countries before it reaches the sea, and along its banks",
    "def fibonacci(n):\n",
];

/// Greedy ids after a prompt, and the logits of all its rows and of all steps.
fn greedy(model: &Model, pool: &Pool, prompt: &[u32]) -> (Vec<u32>, Vec<Vec<f32>>, u64) {
    let mut sequence = Sequence::new(model, pool, prompt.len() + STEPS, KvType::F16);
    let mut logits = sequence.feed(prompt);
    let mut ids = Vec::new();
    for _ in 0..STEPS {
        let id = argmax(logits.last().unwrap());
        ids.push(id);
        logits.extend(sequence.feed(&[id]));
    }
    (ids, logits, sequence.loads.total)
}

#[test]
fn an_upcycled_model_writes_what_the_dense_one_writes() {
    let (Some(dense), Some(upcycled)) =
        (real_model("SmolLM2-135M-Instruct.Q4_1.gguf"), real_model("smollm2-upcycled.gguf"))
    else {
        return;
    };
    let pool = Pool::new(2);
    let open = |path| Checkpoint::open(path).unwrap();
    let tokenizer = Tokenizer::from_checkpoint(&open(&dense)).unwrap();
    let [dense, upcycled] =
        [&dense, &upcycled].map(|path| Model::load(&open(path), &pool, &LoadOptions::default()).unwrap());
    for text in PROMPTS {
        let prompt = tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: false }).unwrap();
        let (ids, logits, dense_loads) = greedy(&dense, &pool, &prompt);
        let (moe_ids, moe_logits, moe_loads) = greedy(&upcycled, &pool, &prompt);
        assert_eq!(ids, moe_ids, "greedy text differs: {text}");
        assert!(logits == moe_logits, "logits differ in a bit: {text}");
        assert_eq!(dense_loads, 0);
        // A decode step loads exactly the two chosen experts of each layer.
        assert!(moe_loads > (2 * STEPS * upcycled.layers()) as u64);
    }
}
