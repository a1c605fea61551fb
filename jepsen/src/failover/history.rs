//! What the Java driver wrote down (`interop/java`, `History.java` has the format).

/// A send that was acknowledged. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) ended_us: u64,
    pub(crate) number: u64,
    pub(crate) queue: u32,
    pub(crate) offset: u64,
}

/// A message of ours that was given to the push consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) at_us: u64,
    pub(crate) number: u64,
}

/// A committed offset that a member answered; `None` if it said that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetSeen {
    pub(crate) asked_us: u64,
    pub(crate) ended_us: u64,
    pub(crate) queue: u32,
    pub(crate) offset: Option<u64>,
    /// Its address.
    pub(crate) member: String,
}

/// A message as it was read back at the end; `number` is `None` if its body was not one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadBack {
    pub(crate) queue: u32,
    pub(crate) offset: u64,
    pub(crate) number: Option<u64>,
}

/// A queue at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueEnd {
    pub(crate) queue: u32,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) acknowledged: Vec<Acknowledged>,
    pub(crate) failed: usize,
    /// In order of delivery.
    pub(crate) delivered: Vec<Delivered>,
    pub(crate) offsets: Vec<OffsetSeen>,
    /// Questions for a committed offset that nobody answered.
    pub(crate) unanswered: usize,
    /// When the producers stopped.
    pub(crate) stopped_us: Option<u64>,
    pub(crate) queues: Vec<QueueEnd>,
    pub(crate) read: Vec<ReadBack>,
}

impl History {
    /// Reads whole lines; `Err` is the first line that is none of the format.
    pub(crate) fn parse(text: &str) -> Result<History, String> {
        let mut history = History::default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines() {
            history.line(line).ok_or_else(|| line.to_owned())?;
        }
        Ok(history)
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let queue = |index: usize| fields.get(index)?.parse::<u32>().ok();
        // -1 stands for none.
        let optional = |index: usize| fields.get(index)?.parse::<i64>().ok().map(|value| u64::try_from(value).ok());
        match *fields.first()? {
            "A" => self.acknowledged.push(Acknowledged {
                ended_us: number(2)?,
                number: number(3)?,
                queue: queue(4)?,
                offset: number(5)?,
            }),
            "F" => self.failed += 1,
            "C" => {
                let at_us = number(1)?;
                self.delivered.extend(optional(2)?.map(|number| Delivered { at_us, number }));
            }
            "O" => self.offsets.push(OffsetSeen {
                asked_us: number(1)?,
                ended_us: number(2)?,
                queue: queue(3)?,
                offset: optional(4)?,
                member: (*fields.get(5)?).to_owned(),
            }),
            "N" => self.unanswered += 1,
            "S" => self.stopped_us = Some(number(1)?),
            "Q" => self.queues.push(QueueEnd { queue: queue(1)?, min: number(2)?, max: number(3)? }),
            "R" => self.read.push(ReadBack { queue: queue(1)?, offset: number(2)?, number: optional(3)? }),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_a_last_half_line_is_left_alone() {
        let text = "A\t10\t20\t7\t3\t0\nF\t1\t2\t8\twhy not\nC\t5\t7\t3\t0\nC\t5\t-1\t3\t1\nO\t6\t7\t3\t-1\taddress\nN\t6\t7\t3\taddress\twhy not\nS\t8\nQ\t3\t0\t1\nR\t3\t0\t7\nR\t3\t1\t-1\nA\t10";
        let history = History::parse(text).expect("reads");
        assert_eq!(history.acknowledged, [Acknowledged { ended_us: 20, number: 7, queue: 3, offset: 0 }]);
        assert_eq!((history.failed, history.delivered), (1, vec![Delivered { at_us: 5, number: 7 }]));
        let seen = OffsetSeen { asked_us: 6, ended_us: 7, queue: 3, offset: None, member: "address".to_owned() };
        assert_eq!((history.offsets, history.unanswered, history.stopped_us), (vec![seen], 1, Some(8)));
        assert_eq!(history.queues, [QueueEnd { queue: 3, min: 0, max: 1 }]);
        assert_eq!(history.read[1], ReadBack { queue: 3, offset: 1, number: None });
        assert_eq!(History::parse("X\t1\n").expect_err("no such line"), "X\t1");
    }
}
