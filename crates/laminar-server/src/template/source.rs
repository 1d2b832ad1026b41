//! Small repairs of a template's source before it is parsed.

/// Replaces `{% generation %}` and `{% endgeneration %}` by blocks that change nothing. `transformers` uses them to mark
/// the tokens to train on; our engine has no such tag. The dashes stay, since they trim the space around the tag.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open);
        out.push_str(before);
        let inside_end = tag.find("%}").map(|end| end + 2);
        let replaced = inside_end.and_then(|end| Some((replacement(tag.get(2..end - 2)?)?, end)));
        match replaced {
            Some((replacement, end)) => {
                out.push_str(&replacement);
                rest = tag.get(end..).unwrap_or_default();
            }
            None => {
                out.push_str("{%");
                rest = tag.get(2..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn replacement(inside: &str) -> Option<String> {
    let name = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']);
    let tag = match name.trim() {
        "generation" => "if true",
        "endgeneration" => "endif",
        _ => return None,
    };
    let lead = inside.strip_suffix(inside.trim_start_matches(['-', '+']))?;
    let tail = inside.strip_prefix(inside.trim_end_matches(['-', '+']))?;
    Some(format!("{{%{lead} {tag} {tail}%}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_blocks_that_change_nothing() {
        assert_eq!(
            without_generation_tags("a{%- generation -%} x {% endgeneration %}{% if b %}{% endif %}"),
            "a{%- if true -%} x {% endif %}{% if b %}{% endif %}"
        );
        assert_eq!(without_generation_tags("{% generation"), "{% generation");
        assert_eq!(without_generation_tags("{%%}{%"), "{%%}{%");
    }
}
