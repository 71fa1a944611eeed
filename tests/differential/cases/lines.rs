//! What is printed, and what is taken or refused.

/// What stands before the names.
pub const HEADINGS: &[&str] = &[
    "-v one dst",
    "-v src dst",
    "-av one dst",
    "-dv src/ new",
    "-av --no-i-r src/ new",
    "-av --delete-before src/ dst",
    "-av --delete-delay src/ dst",
    "-avm src/ new",
    "-av --delay-updates src/ dst",
    "-av --files-from=list src new",
    "-a --info=flist2 src/ new",
    "-d --info=flist2 src/ new",
    "-av missing new",
    "-av src/ one",
    "-av src/ one/",
    "-av src/ one/x",
    "-av one src/same/",
    "-av src/ no/such/dir",
    "-avR src/../src/new dst",
    "-av --files-from=list missing dst",
    "-a --stats -vv src2/ new",
    "-ai --contimeout=5 src/ dst",
];

pub const OUTPUT: &[&str] = &[
    "-a --info=skip2 --ignore-existing src/ dst",
    "-a --out-format=%n src/ dst",
    "-a --out-format=%i|%n|%L src/ dst",
    "-a --out-format=%o|%f|%l src2/ new",
    "-a --out-format=%'l|%''l|%'''l|%u|%m|%h|%n src2/ new",
    "-a --out-format=%M|%B|%U|%G_%n src2/ new --no-p",
    "-a --delete --out-format=%o_%n src/ dst",
    "-a --delete --out-format=%i_%n src/ dst",
    "-av --out-format=<%n> src/ dst",
    "-avv --out-format=<%n> src/ dst",
    "-an --out-format=%o_%n src/ dst",
    "-ai --log-file=log src/ new",
    "-ai --log-file=log --log-file-format=%o_%n src/ new",
    "-a --log-format=%n src/ dst",
    "-aW --out-format=%C_%c_%i_%n src/ dst",
    "-aW --out-format=[%40C]_[%-40C]_%n src/ new",
    "-an --out-format=%C_%c_%n src/ dst",
    "-acW --out-format=%C_%c_%n src/ dst",
    "-ac -ii --out-format=%C_%i_%n src/ dst",
    "-anc --out-format=%C_%c_%n src/ dst",
    "-a -ii --delete --out-format=%C_%i_%n src/ dst",
    "-a --cc=md5 --out-format=%C_%n src/ new",
    "-a --cc=md4 --out-format=%C_%n src/ new",
    "-a --cc=sha1 --out-format=%C_%n src/ new",
    "-a --cc=xxh3 --out-format=%C_%n src/ new",
    "-a --cc=xxhash --out-format=%C_%n src/ new",
    "-a --cc=none --out-format=%C_%n src/ new",
    "-ac --cc=md5,sha1 --out-format=%C_%n src/ dst",
    "-a -ii --link-dest=../ref --out-format=%C_%i_%n src/ new",
    "-ac -ii --link-dest=../ref --out-format=%C_%i_%n src/ new",
    "-a --inplace --out-format=%C_%n src/ dst",
    "-a --log-file=log --log-file-format=%C_%n src/ new",
];

/// What -vv says beside the names.
pub const TOLD: &[&str] = &[
    "-avv --include=same --exclude=s* --exclude=empty/ src/ dst",
    "-avv --exclude=/sub/deep --exclude=*.log --delete src/ dst",
    "-avvn --exclude=/sub/deep --exclude=*.log --delete src/ dst",
    "-avv --filter=H%new --filter=P%old/keep.log --filter=R%extra --delete src/ dst",
    "-avvi --exclude=*.log --delete --delete-excluded src/ dst",
    "-avv --exclude=one one src/new dst",
    "-avv --exclude=new -R src/./sub src2 dst",
    "-avv --existing --exclude=a.log src/ dst",
    "-avv -b --backup-dir=../kept src/ dst",
    "-a --info=backup1,name0 -b --backup-dir=../kept src/ dst",
    "-qvv --exclude=new -r src/ dst",
    "-avv --delete-before src/ dst",
    "-avv --delete-after src/ dst",
    "-avvn --delete-after src/ dst",
    "-avv --delete-before src dst",
    "-avv --delete-before src/sub src2/more dst",
    "-avv --delete-before src/ new",
    "-avvR --delete-before src/./sub dst",
    "-avvnb --delete src/ dst",
    "-avvnb --delete --backup-dir=../kept src/ dst",
    "-avvn --backup-dir=../kept src/ new",
];

/// The same, where the far end's lines are others.
pub const TOLD_HERE: &[&str] = &["-avv --exclude-from=list src/ dst", "-avvC --delete src/ dst", "-avv missing dst"];

/// The same, of rules that directories bring.
pub const TOLD_RULES: &[&str] = &["-avv --filter=:%.rules src/ dst", "-avv --filter=:%.rules --delete src/ dst"];

/// What --debug tells. rsync does not hand it on to a far end.
pub const DEBUGGED: &[&str] = &[
    "-a --debug=filter --exclude=*.o --delete src/ dst",
    "-a --debug=FILTER1,del --filter=:%.rules --delete-before src/ dst",
    "-avv --debug=filter0 --exclude=*.o --delete src/ dst",
    "-avv --debug=del0 --delete-after src/ dst",
    "-avv --debug=none --exclude=*.o src/ dst",
    "-avv --debug=flist0,deltasum0 src/ new",
];

pub const REFUSED: &[&str] = &[
    "-ai --frobnicate src/ dst",
    "-ai --delete src/new dst --no-r",
    "-a --max-delete=x src/ dst",
    "-a --chmod=z src/ dst",
    "-a --info=nonsense src/ dst",
    "-a --delete-before --delete-after src/ dst",
    "-a --inplace --partial-dir=x src/ dst",
    "-a --append --whole-file src/ dst",
    "-a --remove-source-files --files-from=missing src/ dst",
    "-a --list-only --files-from=list src",
    "-a --files-from=list src",
];

/// Taken, though there is nothing to be done for them.
pub const TAKEN: &[&str] = &[
    "-ai --checksum-choice=md5 src/ dst",
    "-ai --cc=xxh128,md5 src/ dst",
    "-ai --checksum-choice=nonsense src/ dst",
    "-aci --cc=none src/ dst",
    "-aiy src/ dst",
    "-ai -B4096 src/ dst",
    "-ai --max-alloc=1G --skip-compress=gz --trust-sender src/ dst",
    "-ai --no-A --no-X --no-N --no-acls --no-xattrs --no-old-args --no-open-noatime src/ dst",
    "-ai --no-append --no-munge-links --no-write-devices --iconv=- --super src/ dst",
    "-ai --stderr=all src/ dst",
    "-ai --msgs2stderr --stderr=client src/ dst",
    "-ai --msgs2stderr src/ dst",
    "-ai --debug=none src/ dst",
    "-ai --debug=DEL0,all0,,hlink0 src/ dst",
    "-ai --debug= src/ dst",
    "-ai --debug=foo src/ dst",
    "-ai --debug=1 src/ dst",
    "-ai --debug=del1x src/ dst",
    "-ai --info=nam src/ dst",
    "-ai --info= src/ dst",
    "-i --old-dirs src/ new",
    "-ai --old-dirs src/ new",
    "-ai --stop-at=23:59 src/ dst",
    "-ai --stop-at=2001-01-01 src/ dst",
    "-ai --stop-at=:99 src/ dst",
    "-ai --block-size=200000 src/ dst",
    "-ai --checksum-seed=x src/ dst",
];
