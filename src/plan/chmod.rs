//! `--chmod`: clauses that edit the source's mode, as rsync 3.5.0 reads them (measured where the manual is silent).

/// Parsed `--chmod` clauses, applied in order. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chmod(Vec<Clause>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    only: Option<Only>,
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Dirs,
    Files,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// The whole mode, in octal.
    Set(u32),
    Edit {
        /// 0o100, 0o010 and 0o001 for `u`, `g`, `o`; 0 where none is named: all of them, less the umask.
        who: u32,
        op: Op,
        /// One digit of r, w, x.
        bits: u32,
        /// `X`: the x in `bits` only for directories and for what is executable already.
        keep_x: bool,
        /// The class whose digit is copied (`g=u`): how far it is shifted.
        copy: Option<u32>,
        /// Setuid, setgid and sticky bits.
        top: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Assign,
}

impl Chmod {
    /// Parses `Du+x,Fg-w,a=rX,0644`. A clause: `D` (directories only) or `F` (anything else) among the letters `u g o a`,
    /// then `+ - =`, then letters of `r w x X s t` or one of `u g o` to copy from; or an octal number of up to four
    /// significant digits.
    ///
    /// # Errors
    /// rsync's sentence, for all the text.
    pub fn parse(text: &str) -> Result<Chmod, String> {
        text.split(',')
            .map(clause)
            .collect::<Option<Vec<_>>>()
            .map(Chmod)
            .ok_or_else(|| format!("Invalid argument passed to --chmod ({text})"))
    }

    /// The mode (twelve bits) that a source's mode becomes. Not for symlinks: rsync leaves those alone.
    pub fn apply(&self, mode: u32, is_dir: bool, umask: u32) -> u32 {
        let was_executable = mode & 0o111 != 0;
        self.0.iter().fold(mode & 0o7777, |mode, clause| match (clause.only, &clause.change) {
            (Some(Only::Dirs), _) if !is_dir => mode,
            (Some(Only::Files), _) if is_dir => mode,
            (_, Change::Set(mode)) => *mode,
            (_, &Change::Edit { who, op, bits, keep_x, copy, top }) => {
                let bits = match copy {
                    Some(shift) => mode >> shift & 7,
                    None if keep_x && !is_dir && !was_executable => bits & !1,
                    None => bits,
                };
                let (reach, bits) = if who == 0 { (0o111, (0o111 * bits) & !umask) } else { (who, who * bits) };
                match op {
                    Op::Add => mode | bits | top,
                    Op::Remove => mode & !(bits | top),
                    Op::Assign => {
                        let top_reach = match copy {
                            Some(_) => set_id(reach) | ((reach & 0o001) * 0o1000),
                            None if top == 0 => 0,
                            None => set_id(who),
                        };
                        (mode & !((reach * 7) | top_reach)) | bits | top
                    }
                }
            }
        })
    }
}

fn clause(text: &str) -> Option<Clause> {
    let (mut only, mut who, mut named) = (None, 0, false);
    let mut rest = text.bytes();
    loop {
        let mut ahead = rest.clone();
        match ahead.next()? {
            b'D' if only != Some(Only::Files) => only = Some(Only::Dirs),
            b'F' if only != Some(Only::Dirs) => only = Some(Only::Files),
            b'u' => (who, named) = (who | 0o100, true),
            b'g' => (who, named) = (who | 0o010, true),
            b'o' => (who, named) = (who | 0o001, true),
            b'a' => (who, named) = (0o111, true),
            b'+' => return edit(Op::Add, who, ahead).map(|change| Clause { only, change }),
            b'-' => return edit(Op::Remove, who, ahead).map(|change| Clause { only, change }),
            b'=' => return edit(Op::Assign, who, ahead).map(|change| Clause { only, change }),
            b'0'..=b'7' if !named => {
                let mode = rest.try_fold(0, |mode: u32, digit| match digit {
                    b'0'..=b'7' => Some(mode * 8 + u32::from(digit - b'0')).filter(|&mode| mode <= 0o7777),
                    _ => None,
                })?;
                return Some(Clause { only, change: Change::Set(mode) });
            }
            _ => return None,
        }
        rest = ahead;
    }
}

/// The setuid bit for `u`, the setgid bit for `g`.
fn set_id(who: u32) -> u32 {
    ((who & 0o100) * 0o40) | ((who & 0o010) * 0o200)
}

fn edit(op: Op, who: u32, letters: std::str::Bytes<'_>) -> Option<Change> {
    let (mut bits, mut keep_x, mut copy, mut top) = (0, false, None, 0);
    let set_id = match set_id(who) {
        0 => 0o4000,
        bits => bits,
    };
    let mut first = true;
    for letter in letters {
        if copy.is_some() {
            return None;
        }
        match letter {
            b'r' => bits |= 4,
            b'w' => bits |= 2,
            b'x' => bits |= 1,
            b'X' => (bits, keep_x) = (bits | 1, true),
            b's' => top |= set_id,
            b't' => top |= 0o1000,
            b'u' if first => copy = Some(6),
            b'g' if first => copy = Some(3),
            b'o' if first => copy = Some(0),
            _ => return None,
        }
        first = false;
    }
    Some(Change::Edit { who, op, bits, keep_x, copy, top })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What rsync 3.5.0 made of files 7751 and 3640, under umask 022.
    const MEASURED_TOP: &str = "
        =g:555,444  a=g:555,444  o=g:6755,2644  u=g:3551,3440  g=o:5711,1600  ug=o:1111,1000  =u:755,644  u+g:7751,3640
        u-g:7251,3240  g-o:7741,3640  =r:7444,3444  u=r:7451,3440  g=r:7741,3640  ug=t:1001,1000  =s:7000,7000
        =t:7000,3000  a=s:7000,7000  u=st:7051,7040  o=st:7750,7640  u=s:7051,7040  g=t:5701,1600  +u:7755,3644
        -o:7640,3640  -t:6751,2640  -st:2751,2640";

    /// What rsync 3.5.0 made of a directory 750, a file 640 and a file 4751, under umask 022.
    const MEASURED: &str = "
        g=u:770,660,4771  g+u:770,660,4771  o-g:750,640,4750  7777:7777,7777,7777  0:0,0,0  D0755:755,640,4751
        F4755:750,4755,4755  u=g;g=o:500,400,511  a=g:555,444,555  =g:555,444,555  =r:444,444,4444  +w:750,640,4751
        -x:640,640,4640  +X:751,640,4751  a=t:1000,1000,1000  u=t:1050,1040,1051  o=s:4750,4640,4750  g=s:2700,2600,6701
        ug=s:6000,6000,6001  a=s:6000,6000,6000  u=:50,40,4051  u=;g+u:50,40,4051  go=u:777,666,4777  ug=o:0,0,111
        4755:4755,4755,4755  02755:2755,2755,2755  000755:755,755,755  o=:750,640,4750  D=:0,640,4751  uD+x:750,640,4751
        Fu+x:750,740,4751  aF+x:750,751,4751  u=X:150,40,4151  u+x;F-x:750,640,4640  u-s:750,640,751  -s:750,640,751
        a-s:750,640,751  o-s:750,640,751  g-s:750,640,4751  +s:4750,4640,4751  g+s:2750,2640,6751  +st:5750,5640,5751";

    #[test]
    fn clauses_do_what_rsync_does() {
        let ours = |chmod: &Chmod, files: &[(u32, bool)]| {
            let made: Vec<_> =
                files.iter().map(|&(mode, dir)| format!("{:o}", chmod.apply(mode, dir, 0o022))).collect();
            made.join(",")
        };
        let clauses = |text: &str| Chmod::parse(&text.replace(';', ",")).expect("clauses that rsync takes");
        for line in MEASURED.split_whitespace() {
            let (text, modes) = line.split_once(':').expect("clauses and modes");
            assert_eq!(ours(&clauses(text), &[(0o750, true), (0o640, false), (0o4751, false)]), modes, "{text}");
        }
        for line in MEASURED_TOP.split_whitespace() {
            let (text, modes) = line.split_once(':').expect("clauses and modes");
            assert_eq!(ours(&clauses(text), &[(0o7751, false), (0o3640, false)]), modes, "{text}");
        }
    }

    #[test]
    fn the_umask_counts_where_nobody_is_named() {
        let apply = |text: &str, mode, is_dir| Chmod::parse(text).map(|chmod| chmod.apply(mode, is_dir, 0o027));
        assert_eq!(apply("=r", 0o750, true), Ok(0o440));
        assert_eq!(apply("-x", 0o4751, false), Ok(0o4641));
        assert_eq!(apply("=rwx", 0o4751, false), Ok(0o4750));
        assert_eq!(apply("g=u", 0o640, false), Ok(0o660));
    }

    #[test]
    fn malformed_clauses_are_refused_with_rsyncs_sentence() {
        for text in
            ["", "x", "D", "F", ",", "a+r,", "g=ru", "g=ur", "08", "77777", "+755", "DF+x", "g=uX", "g=ug", "u755"]
        {
            assert_eq!(Chmod::parse(text), Err(format!("Invalid argument passed to --chmod ({text})")));
        }
    }
}
