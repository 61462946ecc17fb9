public import PagingUnits

/// What a page of the host process is looked up for.
public enum HostAccess: UInt8, Hashable, Sendable {
  /// To be read; a page that is writable anyway is reported so.
  case read
  /// To be written.
  case write
}

/// The 4 KiB of host memory behind an address of the host process, at the moment of the look-up.
public struct HostPage: Hashable, Sendable {
  /// The frame of the 4 KiB page that holds the address, also inside a huge page.
  public let frame: HostFrame
  /// Whether the process's mapping permits writes now (KVM: `map_writable`).
  public let isWritable: Bool
  /// What lies in the frame.
  public let content: Content

  /// A page, as it was found.
  public init(frame: HostFrame, isWritable: Bool, content: Content) {
    self.frame = frame
    self.isWritable = isWritable
    self.content = content
  }

  /// The page without the right to write.
  public var readOnly: HostPage { HostPage(frame: frame, isWritable: false, content: content) }

  /// Whether the frame is a device's, and neither memory nor the page of zeros, which is frame 0
  /// (KVM: `kvm_is_mmio_pfn`).
  public var isDevice: Bool { content == .special && frame.number != 0 }

  /// What lies in a frame of the host process.
  public enum Content: UInt8, Hashable, Sendable {
    /// Memory of the process, with a record that follows its use.
    case memory
    /// The shared page of zeros, or a device's frame: nothing about it is recorded.
    case special
  }
}

/// The answer to a look-up (KVM: `hva_to_pfn`).
public enum HostLookup: Hashable, Sendable {
  /// The page is there.
  case page(HostPage)
  /// No region is there, or it does not permit the access (KVM: `KVM_PFN_ERR_FAULT`).
  case badAddress
  /// A device's page that must not be written (KVM: `KVM_PFN_ERR_RO_FAULT`).
  case readOnly
  /// The page's memory is damaged (KVM: `KVM_PFN_ERR_HWPOISON`).
  case poisoned
  /// No frame was to be had (Linux: `-ENOMEM`, which KVM reports as `KVM_PFN_ERR_FAULT`).
  case refused
}

/// What became of a change to pages of the host process.
public enum HostChangeOutcome: UInt8, Hashable, Sendable {
  /// The change is made.
  case done
  /// Nothing is there to change; nothing was.
  case nothingThere
  /// No frame was to be had; nothing was changed.
  case outOfFrames
  /// The range cuts a page that cannot be split, or the page is not of a kind that permits the
  /// change; nothing was changed.
  case unsuitable
}
