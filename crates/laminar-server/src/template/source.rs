//! Changes to a template's source before it is parsed.

use super::guard::GUARD;

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

/// Sends every value that is set on a namespace (`{% set ns.x = value %}`) through the [`GUARD`] filter.
///
/// The scan knows no more of the language than strings and the end of a tag. Where that could be led astray (a tag
/// within a tag, several targets, a filtered block) the template is refused, so nothing slips past the guard.
///
/// # Errors
/// What cannot be guarded, as a message.
pub(super) fn with_guarded_namespaces(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let (before, tag) = rest.split_at(open + 2);
        out.push_str(before);
        rest = tag;
        if let Some(set) = attribute_set(tag)? {
            out.push_str(set.target);
            out.push_str("= (");
            out.push_str(set.value);
            out.push_str(") | ");
            out.push_str(GUARD);
            out.push(' ');
            rest = set.rest;
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// A tag `set a.b = value`.
struct AttributeSet<'s> {
    /// All up to the equals sign.
    target: &'s str,
    value: &'s str,
    /// From the end of the tag on, its dash included.
    rest: &'s str,
}

/// Reads the inside of a tag (all behind `{%`); `None` if it sets no attribute.
fn attribute_set(tag: &str) -> Result<Option<AttributeSet<'_>>, String> {
    let named = tag.trim_start_matches(['-', '+']).trim_start();
    let Some(names) = named.strip_prefix("set") else {
        return Ok(None);
    };
    if names.starts_with(|char: char| char.is_alphanumeric() || char == '_') {
        return Ok(None);
    }
    let Some(end) = tag_end(names) else {
        return Ok(None);
    };
    let (inside, rest) = names.split_at(end);
    let dash = inside.len() - inside.trim_end_matches(['-', '+']).len();
    let (inside, rest) = (&inside[..inside.len() - dash], &names[names.len() - rest.len() - dash..]);
    let (target, value) = match inside.split_once('=') {
        Some((target, value)) => (target, Some(value)),
        None => (inside, None),
    };
    if !target.contains('.') {
        return Ok(None);
    }
    let simple = |name: &str| {
        let name = name.trim();
        !name.is_empty() && name.chars().all(|char| char.is_alphanumeric() || char == '_')
    };
    match (target.split_once('.'), value) {
        (Some((object, attribute)), Some(value)) if simple(object) && simple(attribute) && !value.contains("{%") => {
            let target = &tag[..tag.len() - names.len() + target.len()];
            Ok(Some(AttributeSet { target, value, rest }))
        }
        (Some((object, attribute)), None) if simple(object) && simple(attribute) => Ok(None),
        _ => Err(format!("cannot check what {{% set{inside}%}} sets; set one attribute a tag")),
    }
}

/// Where the tag ends: the first `%}` that is not in a string.
fn tag_end(inside: &str) -> Option<usize> {
    let mut quote = None;
    let mut chars = inside.char_indices();
    while let Some((at, char)) = chars.next() {
        match quote {
            Some(_) if char == '\\' => drop(chars.next()),
            Some(open) if char == open => quote = None,
            Some(_) => {}
            None if char == '"' || char == '\'' => quote = Some(char),
            None if char == '%' && inside[at..].starts_with("%}") => return Some(at),
            None => {}
        }
    }
    None
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

    #[test]
    fn namespace_values_pass_the_guard() {
        let guarded = |source: &str| with_guarded_namespaces(source);
        assert_eq!(
            guarded("{%- set ns.x = a + '%}' -%}{% set b = 1 %}{% set ns . y=[1] %}").unwrap(),
            format!(
                "{{%- set ns.x = ( a + '%}}' ) | {GUARD} -%}}{{% set b = 1 %}}{{% set ns . y= ([1] ) | {GUARD} %}}"
            )
        );
        for same in ["{% set ns.x %}a{% endset %}", "{% settle.x = 1 %}", "{% set ns.x = '", "{% if a.b == 1 %}", "{%"]
        {
            assert_eq!(guarded(same).unwrap(), same);
        }
        for refused in [
            "{% set a, ns.x = 1, [ns] %}",
            "{% set (ns.x) = [ns] %}",
            "{% set ns.x | default(ns, true) %}{% endset %}",
            "{{ \"{% set a.b = '\" }}{% set ns.x = [ns] %}{{ \"'%}\" }}",
        ] {
            assert!(guarded(refused).is_err(), "{refused}");
        }
    }
}
