//! Stop strings in text that arrives in pieces.

/// Finds the first of several stop strings and holds back text that may turn out to be the beginning of one.
///
/// The text let through depends on the whole text alone, not on how it was cut into pieces: it ends before the stop string
/// that is complete first (the longest one, if several end at the same character).
#[derive(Debug)]
pub(crate) struct StopMatcher {
    stops: Vec<String>,
    held: String,
    /// The stop string that was complete.
    found: Option<String>,
}

/// What a piece of text came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Matched {
    /// No stop string yet; this much text can be sent.
    Text(String),
    /// A stop string is complete; this is the last text.
    Stop(String),
}

impl StopMatcher {
    /// A matcher for these strings; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new(), found: None }
    }

    /// Takes the next piece of text.
    pub fn push(&mut self, piece: &str) -> Matched {
        if self.stops.is_empty() {
            return Matched::Text(piece.to_owned());
        }
        self.held.push_str(piece);
        let ends = |stop: &String| self.held.find(stop.as_str()).map(|start| (start + stop.len(), start));
        if let Some((end, start)) = self.stops.iter().filter_map(ends).min() {
            self.found = self.held.get(start..end).map(str::to_owned);
            self.held.truncate(start);
            return Matched::Stop(std::mem::take(&mut self.held));
        }
        let kept = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        Matched::Text(std::mem::replace(&mut self.held, rest))
    }

    /// The stop string that has ended the text, if one has.
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// The text has ended; what was held back was no stop string after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest end of `text` that is a beginning of `stop`, but not all of it.
fn overlap(text: &str, stop: &str) -> usize {
    let beginnings = stop.char_indices().map(|(length, _)| length).rev();
    beginnings.into_iter().find(|length| text.ends_with(&stop[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The text that gets through, and whether a stop string was found.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out = String::new();
        for piece in pieces {
            match matcher.push(piece) {
                Matched::Text(text) => out += &text,
                Matched::Stop(text) => return (out + &text, true),
            }
        }
        (out + &matcher.finish(), false)
    }

    #[test]
    fn t03_no_part_of_a_stop_string_over_several_tokens_is_sent() {
        assert_eq!(run(&["DEFGHIJ"], &["ABC", "DEF", "G", "HI", "J"]), ("ABC".into(), true));
        assert_eq!(run(&["DEFGHIJ"], &["DEF", "G", "HI", "J"]), (String::new(), true));
    }

    #[test]
    fn t04_held_text_is_flushed_at_the_end() {
        assert_eq!(run(&["DEFGHIJ"], &["ABC", "DEF", "G"]), ("ABCDEFG".into(), false));
    }

    #[test]
    fn held_text_is_let_go_once_it_cannot_match() {
        let mut matcher = StopMatcher::new(&["END".into()]);
        assert_eq!(matcher.push("xEN"), Matched::Text("x".into()));
        assert_eq!(matcher.push("E"), Matched::Text("EN".into()));
        assert_eq!(matcher.push("ND!"), Matched::Stop(String::new()));
    }

    #[test]
    fn a_stop_string_inside_one_piece_cuts_it() {
        assert_eq!(run(&["\n\n"], &["one\n\ntwo"]), ("one".into(), true));
    }

    #[test]
    fn several_stop_strings_and_characters_of_several_bytes() {
        assert_eq!(run(&["日本語", "本"], &["日", "本"]), ("日".into(), true));
        assert_eq!(run(&["日本語"], &["日", "本", "人"]), ("日本人".into(), false));
        assert_eq!(run(&["🙂🙂"], &["a🙂", "b🙂", "🙂"]), ("a🙂b".into(), true));
    }

    proptest! {
        /// However the text is cut, what gets through is what a reader of the whole text would keep.
        #[test]
        fn the_cut_into_pieces_does_not_matter(
            text in "[abé]{0,30}",
            stops in prop::collection::vec("[abé]{1,4}", 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let expected = (1..=text.len())
                .filter(|end| text.is_char_boundary(*end))
                .find_map(|end| {
                    let ending = stops.iter().filter(|stop| text[..end].ends_with(stop.as_str()));
                    ending.map(String::len).max().map(|length| (text[..end - length].to_owned(), true))
                })
                .unwrap_or((text.clone(), false));
            let boundaries: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            let mut places: Vec<usize> = if boundaries.is_empty() {
                Vec::new()
            } else {
                cuts.iter().map(|cut| *cut.get(&boundaries)).collect()
            };
            places.extend([0, text.len()]);
            places.sort_unstable();
            let pieces: Vec<&str> = places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&stops, &pieces), expected);
        }
    }
}
