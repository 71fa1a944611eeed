//! Which symlinks lead out of the tree: `--safe-links` and `--copy-unsafe-links`.

/// Whether a link is unsafe: its target is absolute, empty, or leads above the transfer's root (rsync's `unsafe_symlink`).
/// `path` is the link's own path, relative to that root.
pub fn is_unsafe(target: &[u8], path: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") || target.ends_with(b"/..") && target.len() > 3 {
        return true;
    }
    let parts = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let steps = parts(target);
    // A ".." behind something else may go through another link, and so lead anywhere.
    let climbs = steps.iter().take_while(|part| matches!(part.as_slice(), b".." | b"")).count();
    if steps.iter().skip(climbs).take(steps.len().saturating_sub(climbs + 1)).any(|part| part == b"..") {
        return true;
    }
    let above = parts(path);
    let mut depth = 0i64;
    for part in above.iter().take(above.len().saturating_sub(1)) {
        match part.as_slice() {
            b"" | b"." => {}
            b".." => depth = 0,
            _ => depth += 1,
        }
    }
    for part in &steps {
        match part.as_slice() {
            b"" | b"." => {}
            b".." => {
                depth -= 1;
                if depth < 0 {
                    return true;
                }
            }
            _ => depth += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_above_the_root_or_may_is_unsafe() {
        for (target, path, is) in [
            ("/etc/passwd", "a", true),
            ("", "a", true),
            ("b", "a", false),
            ("../b", "a", true),
            ("../b", "d/a", false),
            ("../../b", "d/a", true),
            ("d/../b", "a", true),
            ("d/..", "a", true),
            ("..", "d/a", false),
            ("..", "a", true),
            ("./b", "a", false),
            ("..//b", "d/a", false),
        ] {
            assert_eq!(is_unsafe(target.as_bytes(), path.as_bytes()), is, "{target} at {path}");
        }
    }
}
