//! Which model families have a chat template among the test data, and which have none and why.

use std::path::Path;

use laminar_model::arch::FAMILIES;

/// Files in `templates`: what makers published, or (without a folder) templates of our own that have the form of one.
const TEMPLATES: [(&str, &[&str]); 23] = [
    ("llama", &["headers", "instructions", "published/mistral_nemo"]),
    ("mixtral", &["published/mixtral"]),
    ("gpt-oss", &["published/gpt_oss"]),
    ("qwen2", &["published/qwen2", "published/qwen2_5"]),
    ("qwen2moe", &["published/qwen2"]),
    ("qwen3", &["published/qwen3", "chatml_thinking"]),
    ("qwen3moe", &["published/qwen3", "published/qwen3_coder"]),
    ("qwen2vl", &["published/qwen2_5"]),
    ("qwen3vl", &["published/qwen3"]),
    ("deepseek2", &["published/deepseek_r1", "published/deepseek_v3_1", "published/further/glm_4_7_flash"]),
    ("gemma2", &["turns"]),
    ("gemma3", &["turns"]),
    ("gemma3n", &["turns"]),
    ("gemma4", &["published/further/gemma_4"]),
    ("glm4moe", &["published/glm_4_6"]),
    ("granite", &["published/granite_3_3", "published/granite_4_0"]),
    ("granitemoe", &["published/granite_3_3", "published/granite_4_0"]),
    ("granitehybrid", &["published/granite_4_0"]),
    ("olmo2", &["published/olmo2"]),
    ("olmoe", &["published/olmo2"]),
    ("phi3", &["published/phi_3_5", "published/phi_4_mini"]),
    ("seed_oss", &["published/further/seed_oss"]),
    ("smollm3", &["published/further/smollm3"]),
];

/// Families without one, and why.
const NONE: [(&str, &str); 10] = [
    ("dots1", "not in the collection that the others are from"),
    ("ernie4_5", "not in the collection that the others are from"),
    ("ernie4_5-moe", "not in the collection that the others are from"),
    ("glm4", "not in the collection that the others are from"),
    ("lfm2", "its licence is one of its own"),
    ("lfm2moe", "its licence is one of its own"),
    ("qwen3next", "not in the collection that the others are from"),
    ("qwen35", "not in the collection that the others are from"),
    ("qwen35moe", "not in the collection that the others are from"),
    ("minimax-m2", "licences of its own for newer members"),
];

#[test]
fn every_family_has_a_chat_template_or_a_reason_for_none() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    for (family, templates) in TEMPLATES {
        assert!(FAMILIES.iter().any(|known| known.name == family), "{family} is no family");
        for template in templates {
            assert!(folder.join(format!("{template}.jinja")).is_file(), "{family}: no {template}");
        }
    }
    for (family, why) in NONE {
        println!("{family}: no chat template among the test data: {why}");
        assert!(TEMPLATES.iter().all(|(with, _)| *with != family), "{family} is in both tables");
    }
    for family in FAMILIES {
        let listed = TEMPLATES.iter().map(|(name, _)| name).chain(NONE.iter().map(|(name, _)| name));
        assert!(listed.into_iter().any(|name| *name == family.name), "{} is in neither table", family.name);
    }
}
