//! Why a file cannot be opened.

use rustix::io::Errno;
use std::io;

/// Whether that says something about the file, so that trying again and again would be for nothing. Everything else is
/// about the process, the rights that it has or what lies between it and the disk, and passes, or somebody sees to it.
pub(crate) fn is_of_the_file(error: &io::Error) -> bool {
    // What is no regular file is no error of the system's.
    let Some(code) = Errno::from_io_error(error) else { return true };
    #[cfg(target_os = "linux")]
    if code == Errno::UCLEAN {
        return true;
    }
    matches!(code, Errno::NOENT | Errno::IO | Errno::BADMSG | Errno::NXIO)
}

/// What to do about one that says nothing about the file.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "let the process have more open files (`ulimit -Hn`, `LimitNOFILE=`), or send it fewer connections"
        }
        Some(Errno::NFILE) => "let the system have more open files (`fs.file-max`)",
        Some(Errno::NOMEM) => "give the system more memory",
        Some(Errno::ACCESS | Errno::PERM) => "let the collector's user read and write it again",
        _ => "see that it can be opened",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_a_file_is_held_against_it() {
        let of_the_file = |code: Errno| is_of_the_file(&code.into());
        assert!([Errno::NOENT, Errno::IO, Errno::BADMSG].into_iter().all(of_the_file));
        assert!(is_of_the_file(&io::Error::other("it is a folder")));
        for code in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS, Errno::PERM, Errno::STALE] {
            assert!(!of_the_file(code), "{code}");
        }
    }

    #[test]
    fn what_to_do_depends_on_what_is_short() {
        assert!(remedy(&Errno::MFILE.into()).contains("LimitNOFILE"));
        assert!(remedy(&Errno::ACCESS.into()).contains("user"));
        assert_ne!(remedy(&Errno::STALE.into()), "");
    }
}
