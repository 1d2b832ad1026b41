//! What the headers of a request say: whose it is, and how fast its answer must come.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use crate::error::ApiError;

/// Header of the longest time between two tokens of the answer, in milliseconds.
pub const TBT_HEADER: &str = "x-laminar-tbt-ms";
/// Header of the longest time to the first token, in milliseconds.
pub const TTFT_HEADER: &str = "x-laminar-ttft-ms";

/// Who asks, and how fast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Caller {
    /// The same number for requests of equal API keys; 0 without a key.
    pub tenant: u64,
    /// From [`TBT_HEADER`].
    pub tbt_target: Option<Duration>,
    /// From [`TTFT_HEADER`].
    pub ttft_target: Option<Duration>,
}

impl Caller {
    /// Reads the headers.
    ///
    /// # Errors
    /// A target that is no positive number, naming its header.
    pub fn new(headers: &HeaderMap, tenants: &Tenants) -> Result<Caller, ApiError> {
        Ok(Caller {
            tenant: api_key(headers).map_or(0, |key| tenants.of(key)),
            tbt_target: milliseconds(headers, TBT_HEADER)?,
            ttft_target: milliseconds(headers, TTFT_HEADER)?,
        })
    }
}

/// Turns API keys into the numbers of tenants.
///
/// The keys themselves are not kept. The hash (SipHash) is seeded anew for every server, so that a number tells nothing
/// about its key and nobody can make a key that shares the number of another one.
#[derive(Debug, Clone, Default)]
pub struct Tenants(RandomState);

impl Tenants {
    /// The tenant of a key; never 0, which stands for no key.
    fn of(&self, key: &[u8]) -> u64 {
        self.0.hash_one(key).max(1)
    }
}

/// The key of `Authorization: Bearer KEY`. Other schemes, and an empty key, count as none.
fn api_key(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !key.is_empty()).then_some(key)
}

/// A header with a positive number of milliseconds, fractions allowed.
fn milliseconds(headers: &HeaderMap, name: &'static str) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok());
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number / 1e3).ok());
    match duration.filter(|duration| !duration.is_zero()) {
        Some(duration) => Ok(Some(duration)),
        None => Err(ApiError::invalid(
            name,
            format!("the header `{name}` must be a positive number of milliseconds, got {value:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn equal_keys_are_one_tenant_and_no_key_is_tenant_0() {
        let tenants = Tenants::default();
        let tenant = |value: &str| Caller::new(&headers("authorization", value), &tenants).unwrap().tenant;
        let first = tenant("Bearer sk-1");
        assert_ne!(first, 0);
        assert_eq!(tenant("bearer  sk-1 "), first);
        assert_ne!(tenant("Bearer sk-2"), first);
        assert_eq!(["Bearer", "Bearer ", "Basic sk-1", "sk-1", ""].map(tenant), [0; 5]);
        assert_eq!(Caller::new(&HeaderMap::new(), &tenants).unwrap(), Caller::default());
    }

    #[test]
    fn targets_are_positive_numbers_of_milliseconds() {
        let read = |value| milliseconds(&headers(TBT_HEADER, value), TBT_HEADER);
        assert_eq!(read("200").unwrap(), Some(Duration::from_millis(200)));
        assert_eq!(read(" 0.5 ").unwrap(), Some(Duration::from_micros(500)));
        for bad in ["0", "-1", "1e-9", "", "200ms", "NaN", "inf", "1e300", "ä"] {
            match read(bad).unwrap_err() {
                ApiError::Invalid { param, message } => {
                    assert_eq!(param.as_deref(), Some(TBT_HEADER));
                    assert!(message.contains(TBT_HEADER) && message.contains("positive"), "{message}");
                }
                other => panic!("unexpected {other}"),
            }
        }
    }
}
