use std::borrow::Cow;
use std::str::FromStr;

use raftmq_remoting::RemotingCommand;

use super::Reply;

/// Reads the header fields of a request; what is missing or no number is answered with SYSTEM_ERROR.
pub(super) struct RequestFields<'a>(&'a RemotingCommand);

impl<'a> RequestFields<'a> {
    pub(super) fn of(request: &'a RemotingCommand) -> RequestFields<'a> {
        RequestFields(request)
    }

    pub(super) fn optional(&self, name: &'static str) -> Option<Cow<'a, str>> {
        self.0.fields.get(name)
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Cow<'a, str>, Reply> {
        self.optional(name).ok_or_else(|| Reply::system_error(format!("the custom field <{name}> is null")))
    }

    pub(super) fn number<T: FromStr>(&self, name: &'static str) -> Result<T, Reply> {
        let text = self.text(name)?;
        text.trim()
            .parse()
            .map_err(|_| Reply::system_error(format!("the custom field <{name}> is not a number: {text}")))
    }

    /// Absent numbers are `otherwise`.
    pub(super) fn number_or<T: FromStr>(&self, name: &'static str, otherwise: T) -> Result<T, Reply> {
        if self.optional(name).is_some() { self.number(name) } else { Ok(otherwise) }
    }

    /// As Java's `Boolean.parseBoolean`: anything but "true" is false.
    pub(super) fn flag(&self, name: &'static str) -> Option<bool> {
        self.optional(name).map(|text| text.eq_ignore_ascii_case("true"))
    }
}
