//! Texts of which a field knows but a few.

/// Declares enumerations of texts for the schemas.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($variant:ident = $text:tt),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, serde::Serialize, utoipa::ToSchema)]
            pub enum $name {
                $(#[doc = $text] #[serde(rename = $text)] $variant),+
            }
        )+
    };
}

pub(super) use words;
