//! Which of some names is most like one that is not among them.

/// The name that takes the fewest insertions, removals and replacements of letters; the first among equals.
pub(super) fn to<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.chars().take(LONGEST).collect();
    names.iter().copied().min_by_key(|name| distance(&wanted, name))
}

/// No name is longer, so the rest of one that is makes no difference.
const LONGEST: usize = 64;

/// Levenshtein's distance, one row of its table at a time.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, letter) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in a.iter().enumerate() {
            let replaced = diagonal + usize::from(*other != letter);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        let distance = |a: &str, b| distance(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!((distance("", "abc"), distance("abc", ""), distance("é", "é")), (3, 3, 0));
    }

    #[test]
    fn the_most_alike_name_is_found() {
        let names = ["llama", "qwen2", "qwen3moe", "gpt-oss"];
        assert_eq!(to("qwen35moe", &names), Some("qwen3moe"));
        assert_eq!(to("gpt_oss", &names), Some("gpt-oss"));
        assert_eq!(to(&"x".repeat(1 << 20), &names), Some("llama"));
        assert_eq!(to("llama", &[]), None);
    }
}
