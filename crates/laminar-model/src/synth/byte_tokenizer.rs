//! A minimal tokenizer that needs no file: GPT-2's byte alphabet, a few merges and ChatML markers.

use crate::checkpoint::Metadata;

/// Pairs that are merged, first to last; each result is a token. `Ġ` is the byte alphabet's space.
const MERGES: [(&str, &str); 20] = [
    ("Ġ", "t"),
    ("h", "e"),
    ("Ġ", "a"),
    ("i", "n"),
    ("r", "e"),
    ("o", "n"),
    ("Ġt", "he"),
    ("e", "r"),
    ("Ġ", "s"),
    ("a", "t"),
    ("Ġ", "w"),
    ("o", "u"),
    ("n", "d"),
    ("Ġ", "c"),
    ("in", "g"),
    ("Ġa", "nd"),
    ("l", "l"),
    ("Ġ", "b"),
    ("e", "n"),
    ("o", "r"),
];

/// Control tokens, after the merged ones.
const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// The ChatML template.
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
                        + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ \
                        '<|im_start|>assistant\\n' }}{% endif %}";

/// Metadata of a byte-level BPE tokenizer, as a donor for [`super::write()`] and [`super::to_vec`].
///
/// Token `b` below 256 is the byte `b`; then come the merged tokens, then the control tokens `<|endoftext|>`,
/// `<|im_start|>` and `<|im_end|>`, the last of which ends a turn. Any text can be encoded.
pub fn byte_tokenizer() -> Metadata {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_symbol(byte).to_string()).collect();
    tokens.extend(MERGES.iter().map(|(left, right)| format!("{left}{right}")));
    let control = tokens.len() as u32;
    let mut types = vec![super::donor::TYPE_NORMAL; tokens.len()];
    tokens.extend(CONTROL.map(str::to_string));
    types.resize(tokens.len(), super::donor::TYPE_CONTROL);
    let merges: Vec<String> = MERGES.iter().map(|(left, right)| format!("{left} {right}")).collect();

    let mut metadata = Metadata::new("built-in byte tokenizer");
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.pre", "qwen2");
    metadata.set("tokenizer.ggml.tokens", tokens);
    metadata.set("tokenizer.ggml.token_type", types);
    metadata.set("tokenizer.ggml.merges", merges);
    metadata.set("tokenizer.ggml.eos_token_id", control + 2);
    metadata.set("tokenizer.ggml.padding_token_id", control);
    metadata.set("tokenizer.ggml.add_bos_token", false);
    metadata.set("tokenizer.chat_template", TEMPLATE);
    metadata
}

/// The character that stands for a byte in GPT-2's alphabet: itself where it is printable, otherwise the next free one
/// from U+0100.
fn byte_symbol(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let earlier = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + earlier).unwrap_or(char::REPLACEMENT_CHARACTER)
}
