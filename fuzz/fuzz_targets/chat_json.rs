//! The body of a chat request on any bytes: parsed and validated, it must end with a plan or an error.
#![no_main]

use laminar_server::openai::chat::ChatCompletionRequest;
use laminar_server::openai::options::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits { vocab_size: 1000, max_choices: 8 };
    if let Ok(request) = ChatCompletionRequest::from_json(data) {
        let _ = request.validate(&limits, true);
        let _ = request.validate(&limits, false);
    }
});
