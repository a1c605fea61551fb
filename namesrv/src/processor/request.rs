use raftmq_remoting::header::FieldError;
use raftmq_remoting::response_code;

/// What a request gets when it succeeds.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn empty() -> Answer {
        Answer::default()
    }

    pub(super) fn body(body: impl Into<Vec<u8>>) -> Answer {
        Answer { fields: Vec::new(), body: body.into() }
    }

    pub(super) fn field(name: &'static str, value: impl ToString) -> Answer {
        Answer { fields: vec![(name, value.to_string())], body: Vec::new() }
    }
}

/// What a request gets when it fails.
pub(super) struct Refusal {
    pub(super) code: i32,
    pub(super) remark: String,
}

impl Refusal {
    pub(super) fn new(code: i32, remark: impl Into<String>) -> Refusal {
        Refusal { code, remark: remark.into() }
    }

    /// The request is malformed or could not be carried out.
    pub(super) fn error(remark: impl ToString) -> Refusal {
        Refusal::new(response_code::SYSTEM_ERROR, remark.to_string())
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Refusal {
        Refusal::error(error)
    }
}
