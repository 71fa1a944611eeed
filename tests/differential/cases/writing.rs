//! How things are written: attributes, backups, links, holes, what is removed at the source.

pub const REMOVAL: &[&str] = &[
    "-ai --delay-updates --remove-source-files src/ dst",
    "-ai --delay-updates --remove-source-files --existing src/ dst",
    "-ai --remove-source-files src/ dst",
    "-ai --remove-source-files src dst",
    "-ai --remove-source-files one dst",
    "-ani --remove-source-files src/ dst",
    "-ai --remove-source-files --exclude=sub src/ dst",
    "-ai --remove-source-files --existing src/ dst",
    "-aui --remove-source-files src/ dst",
    "-avv --remove-source-files src2/ dst",
    "-ri --remove-source-files src/ dst",
    "-aii --remove-source-files src2/ dst",
];

/// Where names lead to one another's files. What rsync sends of them without --no-i-r depends on who is faster.
pub const REMOVAL_OF_LED: &[&str] = &[
    "-aLi --no-i-r --remove-source-files src/ dst",
    "-aLi --no-i-r --remove-source-files src dst",
    "-aLi --no-i-r --remove-source-files --exclude=e src dst",
    "-aLi --no-i-r --remove-source-files src/a src/f src/z dst",
    "-aLi --no-i-r --remove-source-files src/z src/c/in src/d/in dst",
    "-aLi --no-i-r --remove-source-files src/e/ dst",
    "-aLi --no-i-r --remove-source-files --delay-updates src/ dst",
    "-aLni --no-i-r --remove-source-files src/ dst",
    "-aki --no-i-r --remove-source-files src/ dst",
    "-ai --no-i-r --copy-unsafe-links --remove-source-files src/ dst",
];

pub const WRITING: &[&str] = &[
    "-ai --inplace src/ dst",
    "-ri --inplace src/ dst",
    "-ai --inplace --backup src/ dst",
    "-ai -b src/ dst",
    "-ai -b --suffix=.old src/ dst",
    "-ai --backup-dir=../kept -b src/ dst",
    "-ai --backup-dir=kept --backup src/ dst",
    "-ai --backup-dir=kept --backup --suffix=.bak src/ dst",
    "-ai --backup-dir=../kept src/ dst",
    "-ai -b --delete src/ dst",
    "-ai -b --backup-dir=../kept --delete src/ dst",
    "-ai -b --backup-dir= src/ dst",
    "-ai -b --backup-dir=./ src/ dst",
    "-ai -b --backup-dir=. --suffix=.old src/ dst",
    "-ai --suffix= src/ dst",
    "-ai -b --backup-dir=../dst --delete src/ dst",
    "-ai -b --backup-dir=../dst --inplace src/ dst",
    "-ai -b --backup-dir=kept --delete src/ dst",
    "-ani -b --delete src/ dst",
    "-avv -b src/ dst",
    "-avv -b --inplace src/ dst",
    "-ai -b one dst/same",
    "-ai --partial-dir=.parts src/ dst",
    "-ai --partial-dir=.parts --delete src/ dst",
    "-ai --partial-dir= src/ dst",
    "-ai --partial-dir=../parts --delete src/ dst",
    "-ai --partial-dir=a/../.parts src/ dst",
    "-ai --partial-dir=.. src/ new",
    "-ai --partial-dir=parts/deep --delete src/ dst",
    "-ai --delay-updates src/ dst",
    "-ai --delay-updates --delete src/ dst",
    "-ai --append src/ dst",
    "-ai --append-verify src/ dst",
    "-aci --append src/ dst",
    "-ai --fsync src/ dst",
    "-ai --temp-dir=sub src/ dst",
    "-ai --temp-dir=sub --delay-updates src/ dst",
    "-ab --temp-dir=sub src/ dst",
    "-ai --temp-dir=../missing src/ dst",
    "-aUi src/ dst",
    "-ai -m src/ dst",
    "-ai --prune-empty-dirs --exclude=*.log --exclude=new src/ dst",
    "-ai -m --include=*/ --include=*.log --exclude=* src/ dst",
    "-ai -m --delete src/ dst",
    "-ai --force src/ dst",
    "-ai --stop-after=10 src/ dst",
    "-ai --modify-window=1 src/ dst",
    "-ai --ignore-missing-args missing one dst",
    "-ai --delete-missing-args missing one src/extra dst",
    "-ai --ignore-errors --delete src/ dst",
    "-ai -J src/ dst",
    "-aiE src/ dst",
    "-riE src/ dst",
    "-ai --sparse src/ dst",
    "-aiS src/ dst",
    "-aik src/ dst",
    "-aiK src/ dst",
    "-ai --safe-links src/ dst",
    "-ai --copy-unsafe-links src/ dst",
    "-av --copy-unsafe-links src/ new",
    "-a --info=symsafe --copy-unsafe-links src/ new",
    "-akv --copy-unsafe-links src/ new",
    "-a --info=symsafe --safe-links src/ new",
    "-a --info=name,symsafe0 --safe-links src/ new",
];

pub const BASIS: &[&str] = &[
    "-ai --link-dest=../ref src/ dst",
    "-ai --link-dest=../ref src/ new",
    "-aii --link-dest=../ref src/ new",
    "-aii --no-t --chmod=ug=rwX --link-dest=../ref src/ new",
    "-rpi --chmod=ug=rwX --compare-dest=../ref src/ new",
    "-av --link-dest=../ref src/ new",
    "-ai --link-dest=../ref --link-dest=../ref2 src/ new",
    "-ri --link-dest=../ref src/ new",
    "-ai --link-dest=missing src/ new",
    "-aci --link-dest=../ref src/ new",
    "-ai --copy-dest=../ref src/ new",
    "-ai --copy-dest=../ref src/ dst",
    "-aii --copy-dest=../ref src/ new",
    "-ai --compare-dest=../ref src/ new",
    "-ai --compare-dest=../ref src/ dst",
    "-aii --compare-dest=../ref src/ new",
    "-ani --link-dest=../ref src/ new",
    "-ani --link-dest=ref src/ new",
    "-ani --link-dest=../../ref src/ no/such",
    "-ani --link-dest=../ref src/ no/such",
    "-ai --link-dest=../ref --stats src/ new",
    "-aii --link-dest=../dst src/ new",
    "-aii --compare-dest=../dst --compare-dest=../ref src/ new",
    "-ai --copy-dest=../dst src/ new",
    "-ai --copy-dest=../dst --size-only src/ new",
];

pub const HARD: &[&str] = &[
    "-ai src/ dst",
    "-aHi src/ dst",
    "-aHi src/ new",
    "-aHii src/ dst",
    "-aHv src/ dst",
    "-aHi src dst",
    "-aHni src/ dst",
    "-aHci src/ dst",
    "-aHi --delete src/ dst",
    "-aH --stats src/ new",
    "-aHc --out-format=%C_%n src/ new",
    "-aHi --exclude=/a src/ new",
    "-aH --delay-updates src/ dst",
    "-aH --delay-updates --remove-source-files src/ dst",
    "-aHi --link-dest=../dst src/ new",
    "-aHni --link-dest=../dst src/ new",
    "-aHi --compare-dest=../src src/ new",
];

pub const OWNERS: &[&str] = &[
    "-ai src/ dst",
    "-ai src/ new",
    "-ai --numeric-ids src/ dst",
    "-ai --chown=daemon:bin src/ dst",
    "-ai --chown=:bin src/ dst",
    "-ai --chown=4 src/ dst",
    "-ai --usermap=daemon:bin,0:3,*:nobody src/ dst",
    "-ai --usermap=1-2:5 src/ dst",
    "-ai --groupmap=*:daemon src/ dst",
    "-ri --chown=daemon:bin src/ dst",
    "-ai --no-o src/ dst",
    "-ai --no-g src/ dst",
    "-ai --no-o --no-g src/ dst",
    "-ai --usermap=nosuchuser:0 src/ dst",
];

pub const SPECIAL: &[&str] =
    &["-ai src/ dst", "-ai src/ new", "-ai --no-D src/ dst", "-ai --no-specials src/ dst", "-ri src/ dst"];

pub const HOLES: &[&str] = &[
    "-aSi src/ dst",
    "-aSi src/ new",
    "-rSi --inplace src/ dst",
    "-ai --sparse --no-S src/ new",
    "-aKi src/ dst",
    "-aKi src dst",
    "-aKi --delete src/ dst",
    "-aKni src/ dst",
    "-ai src/ dst",
];

/// Found by random cases.
pub const FOUND: &[&str] = &[
    "-ai --remove-source-files --link-dest=../ref src/ new",
    "-ai --remove-source-files --compare-dest=../ref src/ new",
    "-ai -b --compare-dest=../ref src/ dst",
    "-ri -I --chmod=ug=rwX --compare-dest=../ref src/ new",
    "-avv --link-dest=../ref src/ new",
    "-rvv --copy-dest=../ref src/ new",
    "-av --existing src/ new",
    "-a --stats -n --existing src/ new",
    "-rLv --existing src/ new",
    "-aL --exclude=dangling --exclude=circle src/ new",
    "-aL --delete src/ dst",
    "-ai -b --delete --exclude=*.log src/ dst",
    "-ani --delete --exclude=*.log src/ dst",
    "-av --ignore-existing src/ dst",
    "-aii --size-only --remove-source-files src/ dst",
    "-a --stats -m src/ new",
    "-rLn --delete src/ new",
    "-an --stats --copy-dest=../ref src/ new",
    "-ri --copy-dest=../ref src/ new",
    "-ai -b --link-dest=../ref src/ dst",
    "-ai --backup-dir=../kept --link-dest=../ref src/ dst",
    "-aci --link-dest=../ref src/ dst",
    "-acvv --link-dest=../ref src/ dst",
    "-ai --remove-source-files --link-dest=../ref src/ dst",
    // Without -O, it depends on who is faster whether rsync sets the top directory's time before it puts files into it.
    "-aiO -T. src/ dst",
    "-aiO -T. src/ new",
    "-ai -T. one new",
    "-ani -T. src/ new",
];

/// What is written though it is there already.
pub const ALIKE: &[&str] = &["-rI --inplace src/ dst", "-ri --inplace src/ dst"];

/// Names of one file, of which a basis has only a later one.
pub const LATER: &[&str] = &[
    "-aHi --link-dest=../ref src/ new",
    "-aHci --link-dest=../ref src/ new",
    "-aHni --link-dest=../ref src/ new",
    "-aHi --copy-dest=../ref src/ new",
];

/// Names of one file, some of them through links.
pub const REACHED: &[&str] =
    &["-aHki src/ new", "-aHLi src/ new", "-aHi src/ new", "-aH --remove-source-files src/ new"];

/// What is replaced is a backup by its name.
pub const BACKED_UP: &[&str] = &["-avvb src/ dst", "-avvbn src/ dst"];

/// What is in the way of a file that a basis has.
pub const IN_THE_WAY: &[&str] = &["-ri --link-dest=../src src/ dst", "-r --copy-dest=../src src/ dst"];
