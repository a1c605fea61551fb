/// Implementation language of a sender (RocketMQ `LanguageCode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Language {
    /// Also what RaftMQ says: older Java and Go readers map names they do not know to null.
    #[default]
    Java = 0,
    Cpp = 1,
    Dotnet = 2,
    Python = 3,
    Delphi = 4,
    Erlang = 5,
    Ruby = 6,
    Other = 7,
    Http = 8,
    Go = 9,
    Php = 10,
    Oms = 11,
    Rust = 12,
    NodeJs = 13,
}

const NAMES: [(Language, &str); 14] = [
    (Language::Java, "JAVA"),
    (Language::Cpp, "CPP"),
    (Language::Dotnet, "DOTNET"),
    (Language::Python, "PYTHON"),
    (Language::Delphi, "DELPHI"),
    (Language::Erlang, "ERLANG"),
    (Language::Ruby, "RUBY"),
    (Language::Other, "OTHER"),
    (Language::Http, "HTTP"),
    (Language::Go, "GO"),
    (Language::Php, "PHP"),
    (Language::Oms, "OMS"),
    (Language::Rust, "RUST"),
    (Language::NodeJs, "NODE_JS"),
];

impl Language {
    /// The number of the binary header.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Numbers that nobody defined become [`Language::Other`].
    pub fn from_code(code: u8) -> Language {
        NAMES.get(usize::from(code)).map_or(Language::Other, |(language, _)| *language)
    }

    /// The name of the JSON header.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.code())].1
    }

    /// Names that nobody defined become [`Language::Other`].
    pub fn from_name(name: &str) -> Language {
        NAMES.iter().find(|(_, known)| *known == name).map_or(Language::Other, |(language, _)| *language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_agree() {
        for (index, (language, name)) in NAMES.iter().enumerate() {
            assert_eq!(usize::from(language.code()), index);
            assert_eq!(language.name(), *name);
            assert_eq!(Language::from_name(name), *language);
            assert_eq!(Language::from_code(index as u8), *language);
        }
        assert_eq!(Language::from_name("COBOL"), Language::Other);
        assert_eq!(Language::from_code(200), Language::Other);
    }
}
