use super::*;
use crate::sftp::wire;
use crate::verify::digest::Algorithm;
use crate::verify::parts::{self, ASKED};

/// Plays the far end: introduces itself, then answers the names of each batch by `hash`, as the script would.
async fn far_end(rung: &'static str, hash: impl Fn(&[u8]) -> Option<String> + Send + 'static) -> RemoteHasher {
    let (near, mut far) = wire::pair(64);
    tokio::spawn(async move {
        let hello = format!("hopsync-far 1\nids 0 0 0\numask 0022\nhasher {rung}\n");
        let knock = ladder::knock(Key::own());
        assert_eq!(far.rx.recv().await.unwrap().as_deref(), Some(knock.as_bytes()));
        far.tx.send(Bytes::from(hello)).await.unwrap();
        let mut input = Vec::new();
        let mut held: Vec<Vec<u8>> = Vec::new();
        while let Ok(Some(data)) = far.rx.recv().await {
            input.extend_from_slice(&data);
            while let Some(end) = input.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = input.drain(..=end).collect();
                if line.len() > 1 {
                    held.push(line[..line.len() - 1].to_vec());
                    continue;
                }
                let out: String = held.drain(..).filter_map(|name| hash(&name)).collect();
                if far.tx.send(Bytes::from(out)).await.is_err() {
                    return;
                }
            }
        }
    });
    start(near, "far".into()).await.unwrap().hasher.unwrap()
}

fn line(name: &[u8]) -> String {
    let digest = Digest::of(Algorithm::Blake3, name).to_string();
    format!("{}  {}\n", &digest[7..], String::from_utf8_lossy(name))
}

#[tokio::test(start_paused = true)]
async fn one_name_is_answered_without_waiting_for_a_full_batch() {
    let hasher = far_end("b3sum", |name| Some(line(name))).await;
    assert_eq!(hasher.digest(b"dir/file", 1).await, Ok(Digest::of(Algorithm::Blake3, b"./dir/file")));
    assert_eq!(hasher.digest(b"/abs", 1).await, Ok(Digest::of(Algorithm::Blake3, b"/abs")));
}

#[tokio::test(start_paused = true)]
async fn hundreds_of_names_at_once_are_all_answered() {
    let hasher = far_end("b3sum", |name| Some(line(name))).await;
    let asks = (0..1000).map(|n| {
        let hasher = hasher.clone();
        async move { hasher.digest(format!("f{n}").as_bytes(), 1).await }
    });
    for (n, answer) in futures::future::join_all(asks).await.into_iter().enumerate() {
        assert_eq!(answer, Ok(Digest::of(Algorithm::Blake3, format!("./f{n}").as_bytes())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_the_hasher_cannot_read_is_skipped_and_the_others_are_answered() {
    let hasher = far_end("b3sum", |name| (name != b"./gone").then(|| line(name))).await;
    let (gone, there) = tokio::join!(hasher.digest(b"gone", 1), hasher.digest(b"there", 1));
    assert_eq!(gone, Err(NoHash::Skipped));
    assert!(there.is_ok());
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_the_hasher_for_everyone() {
    let hasher = far_end("sha256sum", |_| Some("Segmentation fault\n".to_owned())).await;
    assert!(matches!(hasher.digest(b"a", 1).await, Err(NoHash::Gone(_))));
    assert!(matches!(hasher.digest(b"b", 1).await, Err(NoHash::Gone(_))));
}

#[tokio::test(start_paused = true)]
async fn a_hasher_that_falls_silent_is_given_up() {
    let hasher = far_end("sha256sum", |_| None).await;
    assert!(matches!(hasher.digest(b"a", 1).await, Err(NoHash::Gone(_))));
}

/// A far end that answers each name as it comes, by `answer`.
async fn far_end_at_once(answer: impl Fn(&[u8]) -> String + Send + 'static) -> RemoteHasher {
    let (near, mut far) = wire::pair(64);
    tokio::spawn(async move {
        far.rx.recv().await.unwrap();
        far.tx.send(Bytes::from_static(b"hopsync-far 1\nhasher hopsync\n")).await.unwrap();
        let mut input = Vec::new();
        while let Ok(Some(data)) = far.rx.recv().await {
            input.extend_from_slice(&data);
            while let Some(end) = input.iter().position(|b| *b == 0) {
                let name: Vec<u8> = input.drain(..=end).collect();
                if far.tx.send(Bytes::from(answer(&name[..name.len() - 1]))).await.is_err() {
                    return;
                }
            }
        }
    });
    start(near, "far".into()).await.unwrap().hasher.unwrap()
}

/// `many` parts, and the line that ends them.
fn told(many: usize, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let part = |n| line(format!("{n} {name}").as_bytes())[..66].to_owned() + "\n";
    (0..many).map(part).collect::<String>() + &format!("{}  {name}\n", "-".repeat(64))
}

#[tokio::test(start_paused = true)]
async fn parts_are_told_in_order_among_other_names() {
    let answer = |name: &[u8]| if parts::asked(name).is_some() { told(3, name) } else { line(name) };
    let hasher = far_end_at_once(answer).await;
    let (first, second) =
        (hasher.parts(b"f", Of::Parts(0)).await.unwrap(), hasher.parts(b"f", Of::Parts(64)).await.unwrap());
    let (first, whole, second) = tokio::join!(first, hasher.digest(b"f", 1), second);
    let of = |n, first| Digest::of(Algorithm::Blake3, format!("{n} b{first} ./f").as_bytes());
    assert_eq!(first, Ok((0..3).map(|n| of(n, 0)).collect()));
    assert_eq!(second, Ok((0..3).map(|n| of(n, 64)).collect()));
    assert_eq!(whole, Ok(Digest::of(Algorithm::Blake3, b"./f")));
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_told_with_its_hash_and_nothing_else_is_believed() {
    let (wanted, attrs) = (Digest::of(Algorithm::Blake3, b"./f"), Attrs::default());
    let commit = |answer: &'static str| async move {
        let answer = move |name: &[u8]| match commit::asked(name) {
            Some(asked) => answer.replace("HASH", std::str::from_utf8(asked.wanted).unwrap()),
            None => line(name),
        };
        let hasher = far_end_at_once(answer).await;
        let (whole, committed) = tokio::join!(hasher.digest(b"g", 1), hasher.commit(b"f", 1, &wanted, &attrs, b"name"));
        assert!(whole.is_ok());
        (committed, hasher.digest(b"g", 1).await.is_ok())
    };
    assert_eq!(commit("HASH +./f\n").await, (Ok(Committed::Done(wanted)), true));
    assert_eq!(commit("HASH  ./f\n").await, (Ok(Committed::Left(wanted)), true));
    let unread = "----------------------------------------------------------------  ./f\n";
    assert_eq!(commit(unread).await, (Err(NoHash::Skipped), true));
    for nonsense in ["HASH +./g\n", "+./f\n", "HASH +./f\nHASH +./f\n"] {
        let (committed, goes_on) = commit(nonsense).await;
        assert!(!goes_on && (committed.is_err() || nonsense.matches('\n').count() == 2), "{nonsense:?}");
    }
    let batches = far_end("b3sum", |name| Some(line(name))).await;
    assert_eq!(batches.commit(b"f", 1, &wanted, &Attrs::default(), b"name").await, Err(NoHash::Skipped));
}

const LONG: Duration = Duration::from_secs(1000);

/// What a far end says of a small file, the name being what it holds.
fn small(name: &[u8]) -> String {
    let Some(path) = content::asked(name) else { return line(name) };
    let digest = Digest::of(Algorithm::Blake3, path);
    let head = content::head(digest.hex().as_bytes(), path.len() as u64, 7, path.len());
    String::from_utf8(head).unwrap() + std::str::from_utf8(path).unwrap() + "\n"
}

#[tokio::test(start_paused = true)]
async fn what_small_files_hold_is_told_among_other_names() {
    let hasher = far_end_at_once(|name| match name {
        b"c ./gone" => format!("{}  c ./gone\n", "-".repeat(64)),
        name => small(name),
    })
    .await;
    // One that looks like an answer itself.
    let odd = line(b"./g").trim_end().to_owned();
    let (first, whole, gone, second) = tokio::join!(
        hasher.content(b"f", 3, LONG),
        hasher.digest(b"g", 1),
        hasher.content(b"gone", 1, LONG),
        hasher.content(odd.as_bytes(), 1, LONG)
    );
    let of = |held: String| {
        let digest = Digest::of(Algorithm::Blake3, held.as_bytes());
        Ok(Content { digest, size: held.len() as u64, mtime: 7, data: held.into() })
    };
    assert_eq!((first, gone, second), (of("./f".into()), Err(NoHash::Skipped), of(format!("./{odd}"))));
    assert_eq!(whole, Ok(Digest::of(Algorithm::Blake3, b"./g")));
    assert_eq!(hasher.content(b"f", content::MOST + 1, LONG).await, Err(NoHash::Skipped));
    let batches = far_end("b3sum", |name| Some(line(name))).await;
    assert_eq!(batches.content(b"f", 1, LONG).await, Err(NoHash::Skipped));
}

#[tokio::test(start_paused = true)]
async fn files_that_were_not_asked_for_or_have_no_end_end_the_hasher_for_everyone() {
    let answers: [fn(&[u8]) -> String; 4] = [
        |name| small(&[b"c ", name].concat()),
        |name| small(name).replace("\n", " ") + "\n",
        |name| small(name).trim_end().to_owned() + " \n",
        |name| small(name).replace(" <3 ", &format!(" <{} ", "9".repeat(30))),
    ];
    for answer in answers {
        let hasher = far_end_at_once(answer).await;
        let (_, told) = tokio::join!(hasher.digest(b"f", 1), hasher.content(b"f", 1, LONG));
        let whole = hasher.digest(b"f", 1).await;
        assert!(matches!((&told, &whole), (Err(_), Err(NoHash::Gone(_)))), "{told:?} {whole:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hasher_that_is_slow_to_read_is_asked_for_no_more_than_it_reads_soon() {
    let (near, mut far) = wire::pair(64);
    tokio::spawn(async move {
        far.rx.recv().await.unwrap();
        far.tx.send(Bytes::from_static(b"hopsync-far 1\nhasher hopsync\n")).await.unwrap();
        let mut names: std::collections::VecDeque<u8> = std::collections::VecDeque::new();
        while let Ok(Some(data)) = far.rx.recv().await {
            names.extend(&data);
            while let Some(end) = names.iter().position(|b| *b == 0) {
                let name: Vec<u8> = names.drain(..=end).collect();
                tokio::time::sleep(Duration::from_millis(1)).await;
                if far.tx.send(small(&name[..end]).into()).await.is_err() {
                    return;
                }
            }
        }
    });
    let hasher = start(near, "far".into()).await.unwrap().hasher.unwrap();
    let ask = || async {
        let all = (0..1000).map(|_| hasher.content(b"f", 1, LONG));
        let told = futures::future::join_all(all).await;
        assert!(told.iter().all(|told| told.is_ok() || *told == Err(NoHash::Skipped)));
        told.iter().filter(|told| told.is_ok()).count()
    };
    assert_eq!(ask().await, 1000);
    let soon = ask().await;
    assert!((64..500).contains(&soon), "{soon}");
}

#[tokio::test(start_paused = true)]
async fn small_files_are_not_waited_for_when_nothing_is_heard_and_are_while_anything_is() {
    let (near, mut far) = wire::pair(64);
    let hasher = tokio::spawn(start(near, "far".into()));
    far.rx.recv().await.unwrap();
    far.tx.send(Bytes::from_static(b"hopsync-far 1\nhasher hopsync\n")).await.unwrap();
    let hasher = hasher.await.unwrap().unwrap().hasher.unwrap();
    let begun = Instant::now();
    // A directory of which much is told takes its time.
    let (below, told, ()) = tokio::join!(hasher.below(b"d"), hasher.content(b"f", 1, Duration::from_secs(5)), async {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let line = [&below::DIRECTORY[..], b"  x\n"].concat();
            far.tx.send(line.into()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        far.tx.finish().await;
    });
    assert!(below.is_err());
    assert_eq!(told, Err(NoHash::Skipped));
    assert_eq!(begun.elapsed().as_secs(), 72);
}

#[tokio::test(start_paused = true)]
async fn a_hasher_that_knows_of_no_parts_tells_none() {
    let unread = |name: &[u8]| format!("{}  {}\n", "-".repeat(64), String::from_utf8_lossy(name));
    let hasher = far_end_at_once(unread).await;
    assert_eq!(hasher.parts(b"f", Of::Parts(0)).await.unwrap().await, Ok(Vec::new()));
    let batches = far_end("b3sum", |name| Some(line(name))).await;
    assert_eq!(batches.parts(b"f", Of::Parts(0)).await.err(), Some(NoHash::Skipped));
}

#[tokio::test(start_paused = true)]
async fn parts_without_end_or_unasked_end_the_hasher_for_everyone() {
    for answer in
        [|name: &[u8]| told(ASKED as usize + 1, name), |_: &[u8]| told(1, b"b9 ./g"), |_: &[u8]| String::new()]
    {
        let hasher = far_end_at_once(answer).await;
        assert!(hasher.parts(b"f", Of::Parts(0)).await.unwrap().await.is_err());
        assert!(matches!(hasher.digest(b"f", 1).await, Err(NoHash::Gone(_))));
    }
    let hasher = far_end_at_once(|name| told(1, name)).await;
    assert!(matches!(hasher.digest(b"f", 1).await, Err(NoHash::Gone(_))));
}

#[tokio::test]
async fn an_account_without_a_shell_is_told_apart() {
    let (near, mut far) = wire::pair(4);
    far.tx.finish().await;
    assert_eq!(start(near, "far".into()).await.err().map(|f| f.cause), Some(Cause::Unsupported));
}
