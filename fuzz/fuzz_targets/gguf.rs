//! The GGUF reader on any bytes: it must end with a checkpoint or an error, and what it accepts must be usable.
#![no_main]

use laminar_model::checkpoint::{Checkpoint, Gguf};
use laminar_model::inspect::inspect;
use laminar_model::tokenizer::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(gguf) = Gguf::from_vec(data.to_vec()) else { return };
    for tensor in gguf.tensors() {
        let values = tensor.to_f32().expect("a tensor that was accepted has the bytes its shape needs");
        assert_eq!(values.len(), tensor.elements());
    }
    let checkpoint = Checkpoint::Gguf(gguf);
    let _ = inspect(&checkpoint);
    if let Ok(tokenizer) = Tokenizer::from_checkpoint(&checkpoint) {
        let _ = tokenizer.chat_template();
    }
});
