public import GuestProcessor
public import MachineEvents
public import PagingUnits
public import VirtualMachine

/// What to run, and on what.
public struct RunConfiguration: Sendable {
  /// A file that the loader hands to the kernel.
  public struct Module: Sendable {
    /// The module's command line; its file name comes first by custom.
    public var name: String
    /// The file's bytes.
    public var bytes: [UInt8]

    /// A module.
    public init(name: String, bytes: [UInt8]) {
      self.name = name
      self.bytes = bytes
    }
  }

  /// What is checked while the guest runs.
  public enum Checks: Hashable, Sendable {
    /// Nothing.
    case none
    /// All invariants and the reference translation, after every exit.
    case everyExit
  }

  /// The image's bytes.
  public var image: [UInt8]
  /// How the image is read.
  public var kind = GuestImage.Kind.multiboot
  /// The first word of the kernel's command line, by custom the image's file name.
  public var imageName = "kernel"
  /// The rest of the kernel's command line.
  public var commandLine = ""
  /// Files for the kernel.
  public var modules: [Module] = []

  /// The guest's memory in bytes.
  public var memoryBytes: UInt64 = 128 << 20
  /// The largest page by which the host backs guest memory: 1, 2 or 3.
  public var backing = Level.page2M
  /// The host's memory in bytes; it costs only what is touched.
  public var hostBytes: UInt64 = 1 << 40
  /// Over how many bytes of host memory the guest's pages are scattered; bounded by `hostBytes`.
  public var scatterBytes: UInt64 = 64 << 30
  /// What the guest's processor can do; its vendor is the host's too, unless `hostVendor` says.
  public var features = ProcessorFeatures()
  /// Whose processor the host has, which chooses EPT or NPT; `nil` for the vendor that the guest
  /// sees.
  public var hostVendor: MachineConfiguration.Vendor?
  /// Whether the processor keeps upper entries and guest-physical translations between walks.
  public var walkCaches = MachineConfiguration.Support.present
  /// The levels of the two-dimensional root, 4 or 5.
  public var rootLevel = Level.level4

  /// Two-dimensional paging, or shadow paging.
  public var mmu = MachineConfiguration.TranslationKind.direct
  /// How shadow paging makes roots that no table of the guest's stands behind.
  public var specialRoots = MachineConfiguration.SpecialRootKind.tables

  /// What of the guest's memory it may not write.
  public var protected: [ProtectedPlace] = []
  /// What a write to protected memory does.
  public var protectAction = MemoryProtection.Action.report

  /// Seconds after which the run ends; `nil` for none.
  public var timeout: Double? = 60
  /// Exits after which the run ends; `nil` for none.
  public var maximumExits: UInt64?
  /// What is checked while the guest runs.
  public var checks = Checks.none
  /// Where tracepoints go.
  public var tap = EventTap()

  /// A run of an image with every default.
  public init(image: [UInt8]) { self.image = image }
}
