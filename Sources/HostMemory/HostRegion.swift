public import PagingUnits

/// What the host process may do with the bytes of a region (Linux: `PROT_*`).
public enum HostProtection: UInt8, Hashable, Sendable {
  /// Nothing.
  case none
  /// Read only.
  case readOnly
  /// Read and write.
  case readWrite
}

/// Where the pages of a region come from.
public enum HostBacking: Hashable, Sendable {
  /// Zeros at first; pages up to `largestPage` where a whole one fits (Linux: private anonymous
  /// memory, with transparent huge pages above 4 KiB).
  case anonymous(largestPage: Level)
  /// A file from `offset` bytes on.
  case file(HostFileID, offset: UInt64, HostFileSharing)
  /// The frames of a device from `firstFrame` on, inside or outside memory (Linux: `VM_PFNMAP`).
  case device(firstFrame: HostFrame)
  /// Zeros at first, only in whole pages of the level, which never split (Linux: shared hugetlbfs).
  case hugePages(Level)

  /// The largest page that can back the region.
  public var largestPage: Level {
    switch self {
    case .anonymous(let level), .hugePages(let level): level
    case .file, .device: .page4K
    }
  }
}

/// A run of the host process's addresses with one backing and one protection (Linux: a VMA).
public struct HostRegion: Hashable, Sendable {
  /// The addresses, whole pages.
  public internal(set) var range: Range<HostVirtual>
  /// Where the pages come from; an offset or first frame belongs to the first address.
  public internal(set) var backing: HostBacking
  /// What the process may do.
  public internal(set) var protection: HostProtection

  /// The part of the region from `start` on, with the backing moved along.
  func suffix(from start: HostVirtual) -> HostRegion {
    var part = self
    let distance = start - range.lowerBound
    part.range = start..<range.upperBound
    switch backing {
    case .anonymous, .hugePages: break
    case .file(let file, let offset, let sharing):
      part.backing = .file(file, offset: offset + distance, sharing)
    case .device(let first): part.backing = .device(firstFrame: first + distance >> 12)
    }
    return part
  }
}

/// A region that somebody asks for.
public struct HostRegionRequest: Hashable, Sendable {
  /// The length in bytes, a multiple of the page size of the backing.
  public var byteCount: UInt64
  /// Where the pages come from.
  public var backing: HostBacking
  /// What the process may do.
  public var protection: HostProtection
  /// Where the region starts; `nil` for a place of the address space's choice, aligned to the
  /// backing's largest page.
  public var address: HostVirtual?

  /// A request for `byteCount` bytes.
  public init(
    byteCount: UInt64, backing: HostBacking, protection: HostProtection = .readWrite,
    at address: HostVirtual? = nil
  ) {
    self.byteCount = byteCount
    self.backing = backing
    self.protection = protection
    self.address = address
  }
}

/// Why the host process's layout cannot be changed as asked.
public enum HostRegionError: Error, Hashable, Sendable {
  /// The length is zero or not a multiple of the page size.
  case size(UInt64)
  /// The address, or a file's offset, is not a multiple of the page size.
  case misaligned(UInt64)
  /// The range does not lie below 2^47 - 4096, the end of a process's addresses.
  case outside(Range<HostVirtual>)
  /// Another region is there.
  case overlap(HostVirtual)
  /// No gap is large enough.
  case noGap
  /// As many regions or files as the limits allow.
  case tooMany
  /// No region is there.
  case absent(HostVirtual)
  /// Anonymous and huge pages have level 1, 2 or 3.
  case pageSize(Level)
  /// No frame is left for a table.
  case outOfFrames
}
