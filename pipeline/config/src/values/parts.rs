//! Structs made of several groups of keys that stand side by side in one section.

/// Declares a struct whose fields do not have keys of their own: the keys of all of them stand side by side in one
/// section, as a client's, a queue's and an exporter's own settings do in an exporter.
///
/// It takes the place of `#[serde(flatten)]`, which would lose the places of errors and unknown keys. Each part is a
/// struct with `Deserialize`, `Serialize`, `JsonSchema`, `Validate`, `Debug`, `Clone` and `Default`; a key may belong to
/// several, and is described and written as the first of them does it. The struct validates all its parts; what
/// concerns several of them goes into the part that is its own.
///
/// ```
/// # use millrace_config::{Checker, Validate, parts};
/// # use schemars::JsonSchema;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)] #[serde(default)] struct Client { endpoint: String }
/// # impl Validate for Client {}
/// # #[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)] #[serde(default)] struct Queue { queue_size: u64 }
/// # impl Validate for Queue {}
/// parts! {
///     /// `endpoint` and `queue_size` in one section.
///     pub struct Config {
///         /// Where to.
///         client: Client,
///         /// How much may wait.
///         queue: Queue,
///     }
/// }
/// ```
#[macro_export]
macro_rules! parts {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($(#[$part_attribute:meta])* $part_visibility:vis $part:ident: $type:ty),+ $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Default)]
        $visibility struct $name {
            $($(#[$part_attribute])* $part_visibility $part: $type,)+
        }

        impl $crate::Validate for $name {
            fn validate(&self, at: &mut $crate::Checker<'_>) {
                $($crate::Validate::validate(&self.$part, at);)+
            }
        }

        impl<'de> $crate::macros::Deserialize<'de> for $name {
            fn deserialize<D: $crate::macros::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct PartsVisitor;

                impl<'de> $crate::macros::Visitor<'de> for PartsVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a section (keys and values)")
                    }

                    fn visit_seq<A: $crate::macros::SeqAccess<'de>>(self, mut items: A) -> Result<$name, A::Error> {
                        Ok($name {
                            $($part: match items.next_element()? {
                                Some(part) => part,
                                None => Default::default(),
                            },)+
                        })
                    }
                }

                deserializer.deserialize_tuple_struct($crate::macros::PARTS, 0, PartsVisitor)
            }
        }

        impl $crate::macros::Serialize for $name {
            fn serialize<S: $crate::macros::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use $crate::macros::SerializeTupleStruct as _;
                let mut parts = serializer.serialize_tuple_struct($crate::macros::PARTS, 0)?;
                $(parts.serialize_field(&self.$part)?;)+
                parts.end()
            }
        }

        impl $crate::schema::schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($name)).into()
            }

            fn json_schema(
                generator: &mut $crate::schema::schemars::SchemaGenerator,
            ) -> $crate::schema::schemars::Schema {
                $crate::macros::side_by_side([
                    $(<$type as $crate::schema::schemars::JsonSchema>::json_schema(generator)),+
                ])
            }
        }
    };
}
