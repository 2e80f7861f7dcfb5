//! The memory areas of the calling process.

/// One line of `/proc/self/maps`.
pub(super) struct Area<'a> {
    pub(super) from: usize,
    pub(super) to: usize,
    /// As `rw-p`.
    pub(super) permissions: &'a str,
    /// The file that it is a part of, or a name in brackets; empty for other memory.
    pub(super) name: &'a str,
}

impl<'a> Area<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        Some(Self {
            from: usize::from_str_radix(from, 16).ok()?,
            to: usize::from_str_radix(to, 16).ok()?,
            permissions: fields.next()?,
            name: fields.nth(3).unwrap_or_default(),
        })
    }

    /// Does the address lie in it?
    pub(super) fn contains(&self, address: usize) -> bool {
        (self.from..self.to).contains(&address)
    }
}

/// The areas that the text of `/proc/self/maps` lists, from the lowest on.
pub(super) fn areas(maps: &str) -> impl Iterator<Item = Area<'_>> {
    maps.lines().filter_map(Area::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_area() {
        let maps = "7f89-7f8a r-xp 00026000 fe:00 32 /usr/lib/libc.so.6\nb000-c000 rw-p 00000000 00:00 0\n";
        let all: Vec<_> = areas(maps).collect();
        let [library, other] = all.as_slice() else { panic!("two lines") };
        assert_eq!((library.from, library.to, library.permissions), (0x7f89, 0x7f8a, "r-xp"));
        assert_eq!((library.name, other.name), ("/usr/lib/libc.so.6", ""));
        assert!(other.contains(0xb000) && !other.contains(0xc000));
    }

    #[test]
    fn this_process_has_its_own_code() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let here = this_process_has_its_own_code as fn() as usize;
        assert!(areas(&maps).any(|area| area.contains(here) && area.permissions.contains('x')));
    }
}
