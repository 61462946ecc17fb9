public import PagingUnits

/// What those who check a host may look at of its files.
extension HostAddressSpace {
  /// A file's bytes as nobody has written them, and the top table of its page cache, which is a
  /// page table over the file's own offsets.
  public func contents(of id: HostFileID) -> (file: HostFile, pageCache: HostFrame) {
    let open = openFile(id)
    return (open.file, open.root)
  }
}
