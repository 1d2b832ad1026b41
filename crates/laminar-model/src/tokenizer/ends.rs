//! Which tokens end a generation.
//!
//! Files name one EOS, yet chat models end a turn with another token, and many files forget to say so. These are the
//! spellings that models use; llama.cpp knows the same ones by heart.

use super::vocab::Kind;

/// Always an end, and always control, even in files that mark it as text.
const CERTAIN: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    // Code models: the ends of a file and of a repository.
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];

/// An end where it is control; as text these may be HTML (`</s>` strikes text out) or anything else.
const IF_CONTROL: &[&str] = &[
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<|fim_repo|>",
    "<fim-pad>",
    "<fim_pad>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
];

/// Marks the known ends among the tokens as control and returns their ids in ascending order.
pub(super) fn find<T: AsRef<str>>(texts: &[T], kinds: &mut [Kind]) -> Vec<u32> {
    let mut ends = Vec::new();
    let mut open_end = None;
    let (mut calls, mut finals) = (false, false);
    for ((id, text), kind) in (0..).zip(texts).zip(kinds.iter_mut()) {
        let text = text.as_ref();
        if CERTAIN.contains(&text) {
            *kind = Kind::Control;
        } else if *kind != Kind::Control || !IF_CONTROL.contains(&text) {
            continue;
        }
        match text {
            "<|end|>" => open_end = Some(id),
            "<|call|>" | "<|calls|>" => calls = true,
            "<|return|>" | "<|flush|>" => finals = true,
            _ => {}
        }
        ends.push(id);
    }
    // In vocabularies with explicit final markers `<|end|>` only closes one message of several.
    if calls && finals {
        ends.retain(|&id| Some(id) != open_end);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_found_by_spelling() {
        let texts = ["a", "</s>", "<|im_end|>", "<s>"];
        let mut kinds = [Kind::Normal, Kind::UserDefined, Kind::Normal, Kind::Control];
        assert_eq!(find(&texts, &mut kinds), [2]);
        assert_eq!(kinds[1], Kind::UserDefined);
        assert_eq!(kinds[2], Kind::Control);
        kinds[1] = Kind::Control;
        assert_eq!(find(&texts, &mut kinds), [1, 2]);
    }

    #[test]
    fn a_message_end_among_final_markers_does_not_stop() {
        let texts = ["<|end|>", "<|call|>", "<|return|>"];
        let mut kinds = [Kind::Control; 3];
        assert_eq!(find(&texts, &mut kinds), [1, 2]);
    }
}
