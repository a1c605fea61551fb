/// Declares a program's configuration: the struct, its defaults and the list of its keys.
///
/// A field is `doc "rocketmqKey" | "otherSpelling" => field: Type = default, [restart important] in 1..=9;` where the
/// spellings, `important` and the range may be missing and `restart` may be `hot`.
#[macro_export]
macro_rules! config {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident accepts [$($accepted:expr),* $(,)?] {
            $(
                $(#[doc = $doc:literal])+
                $key:literal $(| $alias:literal)* => $field:ident: $type:ty = $default:expr,
                [$reload:ident $($important:ident)?] $(in $range:expr)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nKey `", $key, "`.")]
                pub $field: $type,
            )*
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                $name { $($field: $default,)* }
            }
        }

        impl $crate::Config for $name {
            const FIELDS: &'static [$crate::ConfigField] = &[$(
                $crate::ConfigField {
                    key: $key,
                    aliases: &[$($alias),*],
                    kind: <$type as $crate::ConfigValue>::KIND,
                    reload: $crate::config!(@reload $reload),
                    important: $crate::config!(@important $($important)?),
                    range: $crate::config!(@range $($range)?),
                    doc: concat!($($doc, "\n"),+),
                },
            )*];

            const ACCEPTED: &'static [&'static [&'static str]] = &[$($accepted),*];

            fn set(&mut self, key: &str, text: &str) -> ::core::result::Result<(), $crate::SetError> {
                let field = $crate::field::<$name>(key).ok_or($crate::SetError::UnknownKey)?;
                match field.key {
                    $(
                        $key => {
                            let value = <$type as $crate::ConfigValue>::parse(text.trim())
                                .map_err($crate::SetError::Value)?;
                            if let (Some(range), Some(number)) =
                                (&field.range, $crate::ConfigValue::number(&value))
                                && !range.contains(&number)
                            {
                                return Err($crate::SetError::Value(format!(
                                    "`{}` is outside {}..={}", text.trim(), range.start(), range.end(),
                                )));
                            }
                            self.$field = value;
                            Ok(())
                        }
                    )*
                    _ => Err($crate::SetError::UnknownKey),
                }
            }

            fn get(&self, key: &str) -> ::core::option::Option<String> {
                match $crate::field::<$name>(key)?.key {
                    $($key => Some($crate::ConfigValue::render(&self.$field)),)*
                    _ => None,
                }
            }
        }
    };
    (@reload hot) => { $crate::Reload::Hot };
    (@reload restart) => { $crate::Reload::Restart };
    (@important) => { false };
    (@important important) => { true };
    (@range) => { None };
    (@range $range:expr) => { Some($range) };
}

/// Declares an enum whose values have RocketMQ's names in files.
#[macro_export]
macro_rules! config_choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// The name that files and messages use.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl $crate::ConfigValue for $name {
            const KIND: $crate::Kind = $crate::Kind::Choice(&[$($text),+]);

            fn parse(text: &str) -> ::core::result::Result<Self, String> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err(format!("`{text}` is none of {}", [$($text),+].join(", "))),
                }
            }

            fn render(&self) -> String {
                self.name().to_owned()
            }
        }
    };
}
