//! Giving dead letters back to a running collector as it has room for them, by asking it again and again: what waits is the
//! command, which can be ended at any time, and nothing in the collector.

use super::text::one_line;
use crate::cli;
use millrace_engine::storage::{Outcome, Selection};
use millrace_extensions::file_storage::control::Answer;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is said how far it has come.
const TELL: Duration = Duration::from_secs(5);

/// Asks until as many have been given back as there were, in all, or something is in the way that does not go by by
/// itself. What fails again meanwhile is behind those that were there, and does not come round a second time.
///
/// # Errors
/// Those of `ask`, if they come before anything has been given back.
pub fn ask(
    folder: &str,
    which: &Selection,
    there: u64,
    mut ask: impl FnMut(Selection) -> Result<Answer, String>,
) -> Result<Answer, String> {
    let mut all = Outcome::default();
    let mut told = Instant::now();
    loop {
        let left = there.saturating_sub(all.requests);
        let problem = match ask(Selection { limit: Some(left), ..which.clone() }) {
            Ok(Answer::Done(outcome)) => {
                all.requests += outcome.requests;
                all.items += outcome.items;
                match outcome.stopped {
                    Some(problem) if outcome.is_for_now && all.requests < there => problem,
                    stopped => return Ok(Answer::Done(Outcome { stopped, ..all })),
                }
            }
            refused if all.requests == 0 => return refused,
            Ok(Answer::Refused(problem)) | Err(problem) => {
                return Ok(Answer::Done(Outcome { stopped: Some(problem), ..all }));
            }
        };
        if told.elapsed() >= TELL {
            told = Instant::now();
            let (so_far, problem) = (all.requests, one_line(&problem));
            cli::remark(&format!(
                "{folder}: {so_far} of {there} requests given back so far; asking again, as for now {problem}"
            ));
        }
        #[expect(clippy::disallowed_methods, reason = "a command has no workers to block")]
        sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(requests: u64, stopped: Option<&str>, is_for_now: bool) -> Result<Answer, String> {
        let stopped = stopped.map(str::to_owned);
        Ok(Answer::Done(Outcome { requests, items: 10 * requests, stopped, is_for_now }))
    }

    /// What comes of these answers, and the limits of what was asked for.
    fn given(
        there: u64,
        answers: impl IntoIterator<Item = Result<Answer, String>>,
    ) -> (Result<Answer, String>, Vec<u64>) {
        let (mut answers, mut limits) = (answers.into_iter(), Vec::new());
        let answer = ask("x", &Selection::default(), there, |which| {
            limits.push(which.limit.expect("no more than there were"));
            answers.next().expect("it does not ask for more")
        });
        assert!(answers.next().is_none(), "it asks on");
        (answer, limits)
    }

    #[test]
    fn it_asks_until_all_that_were_there_have_been_given_back() {
        let full = Some("the queue is full");
        let (answer, limits) = given(5, [some(2, full, true), some(0, full, true), some(3, None, false)]);
        assert_eq!((answer, limits), (some(5, None, false), vec![5, 3, 3]));
        // Nothing was there, or less than was thought.
        assert_eq!(given(0, [some(0, None, false)]), (some(0, None, false), vec![0]));
        assert_eq!(given(5, [some(2, full, true), some(1, None, false)]).0, some(3, None, false));
    }

    #[test]
    fn it_does_not_go_on_where_that_would_be_of_no_use() {
        assert_eq!(given(5, [some(2, Some("torn"), false)]).0, some(2, Some("torn"), false));
        let gone = || Err("it has gone".to_owned());
        assert_eq!(given(5, [gone()]).0, gone());
        let full = Some("the queue is full");
        assert_eq!(given(5, [some(2, full, true), gone()]).0, some(2, Some("it has gone"), false));
        let refused = || Ok(Answer::Refused("nobody has it".to_owned()));
        assert_eq!(given(5, [refused()]).0, refused());
    }
}
