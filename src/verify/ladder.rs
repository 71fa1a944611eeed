//! The far end's hashers as data: the script that finds the best one, the lines it prints, and how names are batched.
//!
//! Names travel on standard input, never on a command line that a shell parses. A batch is its names, one to a line, then
//! [`SENTINEL`] and an empty line; `awk` collects them and runs `tr | xargs -0 HASHER` for each batch, of any size, so that
//! one name is answered as readily as a thousand (measured: 8 ms for one, 46 ms for 2,000). A line of output is
//! `HASH  NAME`; names that a hasher would print otherwise than they are (see [`is_plain`]) are not given to it.

use super::commit::DONE;
use super::digest::{Algorithm, Digest};
use super::gmac::Key;

/// Names in one batch at most: bounds what one answer can hold up.
pub const BATCH: usize = 4096;

/// The last name of each batch: hashed in no time everywhere, and its line says that the batch is done.
pub const SENTINEL: &[u8] = b"/dev/null";

/// First line of the script's output; anything else means that no shell ran it (`ForceCommand internal-sftp`).
pub const GREETING: &[u8] = b"hopsync-far 1";

/// What the script is sent first, and reads first: the key for [`Rung::Gmac`]. An SFTP server that was started in its place takes
/// it for the length of an impossible packet and hangs up, instead of waiting with us for what comes.
pub fn knock(key: Key) -> String {
    format!("hopsync {key}\n")
}

/// The script, for the login shell whatever it is: one line, no single quotes within.
///
/// It says who we are there (for owner and group), the umask, and the hasher that it then becomes, having seen it hash
/// something rightly. Python, which is where the workflows are, needs one process for all files, and by the OpenSSL that it
/// brings hashes at the speed of memory ([`super::gmac`]; 2 GB in 0.4 s); where that cannot be had, by SHA-256.
/// `-W interactive` makes
/// mawk, Debian's awk, read line by line; other awks ignore it.
pub const SCRIPT: &str = concat!(
    "exec sh -c '",
    "I=\"ids $(id -u) $(id -g) $(id -G)\"; M=\"umask $(umask)\"; H=\"home $(pwd -P)\"; ",
    "say() { read knock key || exit 0; printf \"%s\\012\" \"hopsync-far 1\" \"$I\" \"$M\" \"$H\" \"hasher $1\"; }; ",
    "PATH=$PATH:/usr/local/bin:/usr/bin:/bin; ",
    "has() { command -v $1 >/dev/null 2>&1; }; ",
    "become() { n=$1; e=$2; shift 2; C=\"tr \\\\\\\\012 \\\\\\\\000 | xargs -0 $*\"; export C; ",
    "case $(echo /dev/null | sh -c \"$C\" 2>/dev/null) in $e*) say $n; ",
    "exec awk -W interactive ",
    "\"{ if (\\$0 == \\\"\\\") close(ENVIRON[\\\"C\\\"]); else print | ENVIRON[\\\"C\\\"] }\";; esac; }; ",
    "if has hopsync && [ \"$(hopsync --hash-server=probe 2>/dev/null)\" = hash-server-6 ]; then ",
    "say hopsync; exec hopsync --hash-server; fi; ",
    "if has xargs && has awk && has tr; then ",
    "if has b3sum; then become b3sum af1349b9 b3sum --; fi; fi; ",
    "for p in /usr/bin/python3 python3; do has $p && $p -I -S -c \"exec(\\\"",
    r"import os,sys,hashlib\nn=bytes([10]);S=hashlib.sha256;B=85<<10\n",
    r"b=bytearray(3*B);m=memoryview(b);t=bytes();v=sys.argv;O=os.O_RDONLY|os.O_NONBLOCK\n",
    r"def put(b):\n while b: b=b[os.write(1,b):]\n",
    r"S().hexdigest().startswith(v[1]) and os.readv or sys.exit(1)\n",
    // GMAC of a block in the buffer: number, offset, length.
    r"def gmac(key):\n import ctypes as C,_hashlib\n",
    r" for l in [getattr(_hashlib,v[5],None)]+v[15:]:\n",
    r"  try:\n   L=C.CDLL(l);N=L.EVP_CIPHER_CTX_new;A=L.EVP_aes_128_gcm;break\n",
    r"  except (OSError,AttributeError): pass\n",
    r" N.restype=A.restype=V=C.c_void_p;c=V(N());k=C.c_int();t=C.create_string_buffer(16)\n",
    r" a=C.addressof((C.c_char*len(b)).from_buffer(b))\n",
    r" I=L.EVP_EncryptInit_ex;U=L.EVP_EncryptUpdate;F=L.EVP_EncryptFinal_ex;G=L.EVP_CIPHER_CTX_ctrl\n",
    r" def tag(i,o,z):\n",
    r"  if I(c,None,None,None,i.to_bytes(12,v[4]))+U(c,None,C.byref(k),V(a+o),z)+F(c,t,C.byref(k))+G(c,16,16,t)-4:",
    r" raise OSError\n",
    r"  return t.raw\n",
    r" if I(c,V(A()),None,key,None)-1: raise OSError\n",
    r" return tag\n",
    r"T=gmac\n",
    r"try: T(bytes(16))(0,0,B).hex().startswith(v[3]) or 1/0\n",
    r"except Exception: T=None\n",
    // All that takes time is done before it is spoken to.
    r"k=bytes()\nwhile not k.endswith(n): k+=os.read(0,1) or sys.exit(1)\n",
    r"if T: T=T(bytes.fromhex(k[8:-1].decode()))\n",
    r"import atexit;atexit.register(os._exit,0)\n",
    r"put(n.join(map(os.fsencode,[v[2]]+v[12:15]+[v[7 if T else 6]]))+n)\n",
    r"Q=os.readv;K=len(m);Y=bytes([32,32]);X=bytes([45])*64+Y\n",
    // The buffer filled from a file, but for what it holds already.
    r"def fill(f,s):\n k=1\n while k and s<K: k=Q(f,[m[s:]]);s+=k\n return s\n",
    // The hash of what comes next of a file, in so many buffers at most, and its length. First what is all that a small one needs.
    r"def hash(f,r):\n k=Q(f,[m])\n if k<=B:\n  j=k and Q(f,[m[k:]]);k+=j\n",
    r"  if not j: return S(m[:k]).hexdigest().encode()+Y,k\n",
    r" k=s=fill(f,k);h=S();i=0\n while 1:\n",
    r"  if T and (i or k>B):\n   for j in range(0,k,B): h.update(T(i,j,min(B,k-j)));i+=1\n",
    r"  else: h.update(m[:k])\n",
    r"  r-=1\n  if r==0 or k<K: return h.hexdigest().encode()+Y,s\n  k=fill(f,0);s+=k\n",
    // The directories below one (`verify::below`).
    r"def below(r):\n r+=bytes([47]);q=[bytes()];c=0;R=os.path.realpath(r);J=os.path.join\n",
    r" try: M={l.split()[4] for l in open(v[8],v[9])}\n except OSError: return\n",
    r" for d in q:\n  k=0\n  try:\n   for e in os.scandir(r+d):\n    k+=1\n    if k>1000: break\n",
    r"    if J(R,d+e.name) not in M and e.is_dir(follow_symlinks=False) and n not in e.name: q.append(d+e.name+r[-1:])\n",
    r"  except (OSError,AttributeError): continue\n",
    r"  if d and k<1001: yield bytes([61])*64+Y+d[:-1]+n\n",
    r"  c+=k\n  if c>50000 or len(q)>4096: break\n",
    // What a directory holds (`verify::listing`).
    r"def names(p,r):\n o=[];r+=bytes([47]);c=0;M=(1<<32)-1\n try:\n  for e in os.scandir(r):\n",
    r"   try: i=e.stat(follow_symlinks=False)\n   except FileNotFoundError: continue\n",
    r"   d=(v[11]%(i[0],i[4],i[5],i[7]&M,i[8]&M,i[6])).encode()+e.name+bytes(1);c+=len(d);o.append(d)\n",
    r"   if i[0]>>12==10: o.append(os.readlink(r+e.name)+bytes(1))\n   if c>B: break\n",
    r"  d=bytes().join(o)\n  if len(d)<=B: return S(d).hexdigest().encode()+Y[:1]+(v[10]%(len(o),0,len(d))).encode()+n+d+n\n",
    r" except (OSError,AttributeError): pass\n return X+p+n\n",
    // The sums of the blocks of what comes next of a file (`verify::blocks`).
    r"def sums(f,z,w):\n from zlib import adler32\n for _ in range(256):\n  k=fill(f,0)\n  for i in range(0,k,z):\n",
    r"   p=m[i:min(i+z,k)];h=T(0,i,len(p))+bytes(12) if T else S(p).digest()[4:]\n",
    r"   yield ((adler32(p) if w else 0).to_bytes(4,v[4])+h).hex().encode()+Y+n\n",
    r"  if k<K: break\n",
    // What was hashed gets its attributes and its name (`verify::commit`).
    r"def commit(f,p,y,a,*z):\n m,u,g,l,t=map(int,z)\n",
    r" if u+1: os.fchown(f,u,g)\n",
    r" if m+1: os.fchmod(f,m)\n",
    r" if t+1: os.utime(f,(l,t))\n",
    r" os.rename(p,p[:p.rindex(bytes([47]))+1]+y)\n return a+bytes([32,43])\n",
    // Bytes of an old file for a new one (`verify::copied`).
    r"def lay(f,q,a,t,z):\n g=os.open(q,os.O_WRONLY|os.O_NOFOLLOW)\n try:\n  while z:\n",
    r"   try: k=os.copy_file_range(f,g,z,a,t)\n",
    r"   except (OSError,AttributeError): os.lseek(g,t,0);k=os.sendfile(g,f,a,z)\n",
    r"   if k<1: raise OSError\n   a+=k;t+=k;z-=k\n",
    r" finally: os.close(g)\n",
    r"while 1:\n d=os.read(0,1<<16)\n if not d: break\n *a,t=(t+d).split(bytes(1))\n o=[];s=0\n",
    r" for p in a:\n  if s>1<<20: put(bytes().join(o));o=[];s=0\n  x=X;w=z=bytes();q=p;y=p[0]\n",
    r"  if y==108: o.append(names(p,p[2:]));s+=len(o[-1]);continue\n",
    r"  if y==101: *z,p=p[1:].split(bytes([32]),6);p,y=p.rsplit(bytes([47,47]),1);q=p\n",
    // A question for parts (`verify::parts`): from which one on, and of what.
    r"  if y in (98,118,119): w,q=p[1:].split(bytes([32]),1)\n",
    r"  if y==100: o+=below(p[2:]);q=w\n",
    // What a small file holds (`verify::content`).
    r"  if y==99: q=p[2:]\n",
    r"  if y==112: *z,q=p[1:].split(bytes([32]),4);z=[*map(int,z)];h=q[z[3]:];q=q[:z[3]]\n",
    r"  try:\n   f=os.open(q,O)\n   try:\n",
    r"    if y==112: lay(f,h,*z[:3]);x=bytes([48])*64+Y\n",
    r"    elif w and y>100:\n     z,w=map(int,w.split(bytes([46])));os.lseek(f,w,0);o+=sums(f,z,y==119);s+=1<<20;z=0\n",
    r"    elif w:\n     os.lseek(f,int(w)*4*K,0)\n",
    r"     for j in range(64):\n      y,k=hash(f,4)\n      if k: o.append(y+n);s+=k\n      else: break\n",
    r"    elif y==99:\n     h,k=hash(f,-1)\n",
    r"     if k<=B: i=os.fstat(f);x=h[:65]+(v[10]%(i[6],i[8],k)).encode()+n+m[:k];p=w;s+=k\n",
    r"    else:\n     x,k=hash(f,-1);s+=k\n     if z and x[:64]==z[0]: x=commit(f,q,y,*z)\n",
    r"   finally: os.close(f)\n  except Exception: pass\n",
    r"  o+=x,p,n;s+=4096\n",
    r" put(bytes().join(o))\n",
    "\\\")\" e3b0c442 \"hopsync-far 1\" b7d1b2dc big __file__ \"hasher python3\" \"hasher gmac\" /proc/self/mountinfo rb \"<%d %d %d\" \"%d %d %d %d %d %d \" \"$I\" \"$M\" \"$H\" libcrypto.so.3 libcrypto.so.1.1 ",
    // One that cannot be used says so by its status. Where one has begun, what it leaves undone must not be taken up by another.
    "; x=$?; [ $x -gt 0 ] && [ $x -lt 128 ] || exit 0; done; ",
    "if has xargs && has awk && has tr; then ",
    "if has openssl; then become openssl e3b0c442 openssl dgst -sha256 -r; fi; ",
    "if has sha256sum; then become sha256sum e3b0c442 sha256sum --; fi; ",
    "fi; say none'",
);

/// The script where nothing is to be hashed: it only tells who we are.
pub const SCRIPT_WITHOUT_HASHER: &str =
    "exec sh -c 'echo hopsync-far 1; echo ids $(id -u) $(id -g) $(id -G); echo umask $(umask); echo hasher none'";

/// A hasher at the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Rung {
    /// `hopsync --hash-server`: answers each name at once.
    Own,
    B3sum,
    /// Python with its OpenSSL's GMAC, driven as [`Rung::Own`] is.
    Gmac(Key),
    /// Python's `hashlib`, likewise.
    Python,
    Openssl,
    Sha256sum,
}

impl Rung {
    pub fn name(self) -> &'static str {
        match self {
            Rung::Own => "hopsync",
            Rung::B3sum => "b3sum",
            Rung::Gmac(_) => "gmac",
            Rung::Python => "python3",
            Rung::Openssl => "openssl",
            Rung::Sha256sum => "sha256sum",
        }
    }

    pub fn algorithm(self) -> Algorithm {
        match self {
            Rung::Own | Rung::B3sum => Algorithm::Blake3,
            Rung::Gmac(key) => Algorithm::Gmac(key),
            Rung::Python | Rung::Openssl | Rung::Sha256sum => Algorithm::Sha256,
        }
    }

    /// Whether names go in batches; else each is answered as it comes.
    pub fn batches(self) -> bool {
        !matches!(self, Rung::Own | Rung::Gmac(_) | Rung::Python)
    }

    /// Whether it answers questions for parts ([`super::parts`]), for directories ([`super::below`]), and for a file and its name
    /// ([`super::commit`]).
    pub fn tells_parts(self) -> bool {
        !self.batches()
    }

    /// `key` is what the script was sent.
    fn from_name(name: &str, key: Key) -> Option<Rung> {
        let all = [Rung::Own, Rung::B3sum, Rung::Gmac(key), Rung::Python, Rung::Openssl, Rung::Sha256sum];
        all.into_iter().find(|rung| rung.name() == name)
    }
}

/// What the script said of the far end.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct FarEnd {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// All groups that the login is a member of.
    pub groups: Vec<u32>,
    pub umask: Option<u32>,
    /// Where its shell starts, without links.
    pub home: Option<Vec<u8>>,
    pub hasher: Option<Rung>,
}

/// Reads the script's lines, in order. `Ok(true)` when the last one has been read.
#[derive(Debug)]
pub struct Introduction {
    key: Key,
    greeted: bool,
    pub found: FarEnd,
}

impl Introduction {
    /// `key` is what the script was sent ([`knock`]).
    pub fn new(key: Key) -> Introduction {
        Introduction { key, greeted: false, found: FarEnd::default() }
    }

    /// # Errors
    /// A line that the script does not print: whatever speaks there is not it.
    pub fn line(&mut self, line: &[u8]) -> Result<bool, String> {
        let text = String::from_utf8_lossy(line).trim().to_owned();
        if !self.greeted {
            // A shell's start-up file may print something first, with or without a newline.
            self.greeted = line.ends_with(GREETING);
            return Ok(false);
        }
        let mut words = text.split(' ');
        match words.next() {
            Some("ids") => {
                let mut numbers = words.filter_map(|word| word.parse().ok());
                self.found.uid = numbers.next();
                self.found.gid = numbers.next();
                self.found.groups = numbers.take(65_536).collect();
            }
            Some("umask") => {
                self.found.umask = words.next().and_then(|mask| u32::from_str_radix(mask, 8).ok()).map(|m| m & 0o777);
            }
            Some("home") => self.found.home = line.strip_prefix(b"home ").map(<[u8]>::to_vec),
            Some("hasher") => {
                self.found.hasher = words.next().and_then(|name| Rung::from_name(name, self.key));
                return Ok(true);
            }
            _ => return Err(format!("unexpected words from the far end's shell: {text:?}")),
        }
        Ok(false)
    }
}

/// Whether every hasher prints this name as it is: valid UTF-8 without control characters and backslashes. (b3sum replaces
/// what is no UTF-8; all escape newline and backslash, each in its own way.)
pub fn is_plain(path: &[u8]) -> bool {
    !path.is_empty()
        && path.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f && *byte != b'\\')
        && std::str::from_utf8(path).is_ok()
}

/// The name as it is handed over: one that could be taken for an option gets `./`.
pub fn handed_over(path: &[u8]) -> Vec<u8> {
    if path.first() == Some(&b'/') { path.to_vec() } else { [b"./", path].concat() }
}

/// What [`Rung::Own`] and [`Rung::Python`] print in place of the hash of a file that they cannot read, and at the end of an
/// answer about parts.
pub const UNREADABLE: &[u8; 64] = &[b'-'; 64];

/// One line of a hasher's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// `None`: it could not be read.
    pub digest: Option<Digest>,
    pub name: &'a [u8],
    /// It has another name by now ([`super::commit`]).
    pub committed: bool,
}

/// `HASH  NAME` (sha256sum, b3sum, python3, hopsync), `HASH *NAME` (openssl -r), or `HASH +NAME` ([`super::commit`]).
pub fn parse_line(algorithm: Algorithm, line: &[u8]) -> Option<Line<'_>> {
    let hash = line.get(..64)?;
    let digest = if hash == UNREADABLE { None } else { Some(Digest::from_hex(algorithm, hash)?) };
    let committed = match line.get(64..66)? {
        b"  " | b" *" => false,
        mark if mark == DONE => true,
        _ => return None,
    };
    Some(Line { digest, name: &line[66..], committed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduce(lines: &[&str]) -> Result<FarEnd, String> {
        let mut introduction = Introduction::new(Key([7; 16]));
        for line in lines {
            if introduction.line(line.as_bytes())? {
                return Ok(introduction.found);
            }
        }
        Err("it never ended".to_owned())
    }

    #[test]
    fn the_script_tells_who_we_are_and_what_hashes() {
        let far =
            introduce(&["Welcome!", "hopsync-far 1", "ids 1000 1000 1000 27", "umask 0022", "hasher b3sum"]).unwrap();
        assert_eq!((far.uid, far.gid, far.groups, far.umask), (Some(1000), Some(1000), vec![1000, 27], Some(0o22)));
        assert_eq!(far.hasher, Some(Rung::B3sum));
        assert_eq!(introduce(&["hopsync-far 1", "hasher gmac"]).unwrap().hasher, Some(Rung::Gmac(Key([7; 16]))));
        assert_eq!(introduce(&["hopsync-far 1", "hasher none"]).unwrap().hasher, None);
        assert!(introduce(&["hopsync-far 1", "rm: cannot"]).is_err());
    }

    #[test]
    fn the_script_survives_any_login_shell() {
        let inner = SCRIPT.strip_prefix("exec sh -c '").and_then(|s| s.strip_suffix('\'')).unwrap();
        assert!(!inner.contains('\'') && !SCRIPT.contains('\n') && !SCRIPT.contains('!'));
    }

    #[test]
    fn names_that_hashers_print_differently_are_kept_from_them() {
        assert!(is_plain("päth with  spaces/*".as_bytes()) && is_plain(b"-n"));
        for odd in [&b"a\nb"[..], b"a\\b", b"\xff", b"", b"a\x7f"] {
            assert!(!is_plain(odd));
        }
        assert_eq!(handed_over(b"-rf"), b"./-rf");
    }

    #[test]
    fn lines_of_every_hasher_are_understood_and_nothing_else() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for separator in ["  ", " *"] {
            let line = format!("{hex}{separator}a  b");
            let line = parse_line(Algorithm::Sha256, line.as_bytes()).unwrap();
            assert_eq!((line.name, line.committed), (&b"a  b"[..], false));
        }
        let unreadable = format!("{}  a", "-".repeat(64));
        let read = parse_line(Algorithm::Sha256, unreadable.as_bytes());
        assert_eq!(read, Some(Line { digest: None, name: b"a", committed: false }));
        let committed = format!("{hex} +a");
        assert!(parse_line(Algorithm::Sha256, committed.as_bytes()).unwrap().committed);
        for bad in ["", "sha256sum: x: No such file", &hex[1..], &format!("{hex} x"), &format!("\\{hex}  x")] {
            assert_eq!(parse_line(Algorithm::Sha256, bad.as_bytes()), None);
        }
    }
}
